/**
 * Rows of a Parquet file (https://parquet.apache.org/docs/file-format/), decoded in a thread of their own.
 *
 * The thread is what bounds a damaged file: there are pages on which the decoding library never ends, and sizes in the
 * metadata for which no memory is enough. It gets `patience` for each part and a limit of memory, and is ended then.
 */
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, MinkeError } from '@minke/core';

/** One row, by column. */
export type ParquetRow = Readonly<Record<string, unknown>>;

/** What the thread answers. */
export type FromParquetWorker =
  | { readonly type: 'rows'; readonly rows: readonly ParquetRow[] }
  | { readonly type: 'end' }
  | { readonly type: 'error'; readonly code: ErrorCode; readonly message: string };

const script = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/parquet-worker.js' : './parquet-worker.js',
  import.meta.url,
);

/** Of the thread, MiB. */
const memory = 4096;

/** How long one part may take, ms: half a minute, and a second for each MiB of the file. */
const patienceOf = (bytes: number): number => 30_000 + Math.ceil(bytes / 2 ** 20) * 1_000;

/**
 * The rows of a file, in order, counted from 1.
 *
 * @param options.patience ms that a part of at most 10,000 rows may take; default: by the file's size
 * @throws MinkeError `invalid-file` for what is no Parquet file, is damaged or empty, or whose decoding does not end;
 * `unsupported` for a compression that cannot be read here
 * @example
 * for await (const { row, value } of readParquet('train.parquet')) console.log(row, value.prompt);
 */
export async function* readParquet(
  path: string,
  options: { readonly patience?: number } = {},
): AsyncGenerator<{ readonly row: number; readonly value: ParquetRow }> {
  const patience = options.patience ?? patienceOf(statSync(path, { throwIfNoEntry: false })?.size ?? 0);
  const worker = new Worker(script, {
    workerData: path,
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: memory },
  });
  try {
    for (let row = 1; ; ) {
      const answer = await nextPart(worker, path, patience);
      if (answer.type === 'end') return;
      if (answer.type === 'error') throw new MinkeError(answer.code, answer.message);
      for (const value of answer.rows) yield { row: row++, value };
    }
  } finally {
    await worker.terminate();
  }
}

async function nextPart(worker: Worker, path: string, patience: number): Promise<FromParquetWorker> {
  const damaged = (found: string, cause: unknown) =>
    new MinkeError('invalid-file', `${path}: expected a whole Parquet file, got ${found}; fetch it again`, {
      cause,
    });
  worker.postMessage('next');
  try {
    const [answer] = await once(worker, 'message', { signal: AbortSignal.timeout(patience) });
    return answer as FromParquetWorker;
  } catch (cause) {
    if ((cause as Error).name === 'AbortError')
      throw damaged(`one whose next rows were not decoded in ${patience / 1000} s`, cause);
    throw damaged(`one that cannot be decoded (${(cause as Error).message})`, cause);
  }
}
