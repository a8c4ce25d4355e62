/**
 * A sampler in a thread of its own: an engine that samples while this thread trains.
 *
 * Policies come as folders (`ExportingLearner`), requests and samples as messages. With the same backend and as many
 * threads it gives the samples of a `LocalSampler`, bit for bit.
 */
import { Worker } from 'node:worker_threads';
import { type ErrorCode, MinkeError } from '@minke/core';
import type { PolicyExport, Sample, SampleRequest, Sampler } from './interfaces.ts';
import type { FromSampler, ToSampler, WorkerSamplerOptions } from './sampler-protocol.ts';

// Sources are run by tests only; a thread needs the built file.
const script = new URL(
  import.meta.url.endsWith('.ts') ? '../dist/sampler-worker.js' : './sampler-worker.js',
  import.meta.url,
);

interface Waiting {
  readonly resolve: (samples: readonly Sample[] | undefined) => void;
  readonly reject: (problem: unknown) => void;
}

/** A message without its number. */
type Unnumbered<Message> = Message extends unknown ? Omit<Message, 'id'> : never;

/**
 * @example
 * const sampler = new WorkerSampler({ threads: 1 });
 * await sampler.update(await learner.exportForSampler()); // an ExportingLearner's
 * const samples = await sampler.sample(request);
 * await sampler.dispose();
 */
export class WorkerSampler implements Sampler {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  #lost: MinkeError | undefined;

  /** Starts the thread; it loads the first policy that it is sent, which needs `@minke/gpu-backends`. */
  constructor(options: WorkerSamplerOptions = {}) {
    // The parent's flags (module conditions, loaders, a debugger's port) are not for this thread.
    this.#worker = new Worker(script, { workerData: options, execArgv: [] });
    this.#worker.on('message', (message: FromSampler) => this.#receive(message));
    this.#worker.on('error', (cause) => this.#end(`its thread failed: ${cause.message}`, cause));
    this.#worker.on('exit', (code) => this.#end(`its thread ended with code ${code}`));
    // A thread that nobody waits for does not keep the process alive.
    this.#worker.unref();
  }

  async sample(request: SampleRequest, signal?: AbortSignal): Promise<readonly Sample[]> {
    const { id, answer } = this.#ask({ type: 'sample', request });
    const cancel = () => this.#worker.postMessage({ type: 'cancel', id } satisfies ToSampler);
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted) cancel();
    try {
      return (await answer) ?? [];
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  async update(policy: PolicyExport): Promise<void> {
    await this.#ask({ type: 'update', policy }).answer;
  }

  /** Ends the thread; what is under way rejects with `aborted`. */
  async dispose(): Promise<void> {
    this.#end('it was disposed', undefined, 'aborted');
    await this.#worker.terminate();
  }

  #ask(message: Unnumbered<ToSampler>): { id: number; answer: Promise<readonly Sample[] | undefined> } {
    if (this.#lost !== undefined) throw this.#lost;
    const id = this.#next++;
    const answer = new Promise<readonly Sample[] | undefined>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
    this.#worker.ref();
    this.#worker.postMessage({ ...message, id });
    return { id, answer };
  }

  #receive(message: FromSampler): void {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if (message.type === 'done') waiting?.resolve(message.samples);
    else {
      const { code, message: text, details } = message;
      waiting?.reject(new MinkeError(code as ErrorCode, text, { details }));
    }
  }

  #end(why: string, cause?: unknown, code: ErrorCode = 'internal'): void {
    this.#lost ??= new MinkeError(code, `WorkerSampler: expected an answer, but ${why}; start another`, {
      cause,
    });
    for (const { reject } of this.#waiting.values()) reject(this.#lost);
    this.#waiting.clear();
  }
}
