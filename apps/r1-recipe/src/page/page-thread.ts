/**
 * Starts the page in a worker thread, so that a browser is answered while kernels compute, and stops it with the run.
 */
import { Worker } from 'node:worker_threads';
import { MinkeError } from '@minke/core';

export interface PageThread {
  readonly url: string;
  /** Tells the readers that the run is over, and ends the thread within a few seconds. */
  close(): Promise<void>;
}

const closeMs = 3000;

/** Rejects with `unsupported` when the port cannot be used. */
export async function startPage(folder: string, port: number): Promise<PageThread> {
  const worker = new Worker(new URL('./page-worker.js', import.meta.url), { workerData: { folder, port } });
  const exit = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const answer = await new Promise<{ url?: string; problem?: string }>((resolve, reject) => {
    worker.once('message', resolve).once('error', reject);
  });
  if (answer.url === undefined) {
    await exit;
    throw new MinkeError('unsupported', answer.problem ?? 'page: expected an address, got none');
  }
  // Once it runs, trouble of the page is no trouble of the training.
  worker.on('error', (problem) => process.stderr.write(`page: ${problem.message}\n`));
  return {
    url: answer.url,
    async close() {
      worker.postMessage('close');
      const timer = setTimeout(() => void worker.terminate(), closeMs);
      await exit;
      clearTimeout(timer);
    },
  };
}
