/** The thread of `readParquet`: decodes a part of the file for each message, and says so when there is none left. */
import { parentPort, workerData } from 'node:worker_threads';
import { MinkeError } from '@minke/core';
import { decodeParquet } from './parquet-decoder.ts';
import type { FromParquetWorker } from './parquet-rows.ts';

const port = parentPort as NonNullable<typeof parentPort>;
const parts = decodeParquet(workerData as string);
const send = (message: FromParquetWorker): void => port.postMessage(message);

port.on('message', async () => {
  try {
    const { done, value: rows } = await parts.next();
    send(done === true ? { type: 'end' } : { type: 'rows', rows });
  } catch (cause) {
    if (!MinkeError.isInstance(cause)) throw cause;
    send({ type: 'error', code: cause.code, message: cause.message });
  }
});
