/** The thread of a `WorkerSampler`: a `FolderSampler` that takes its calls as messages. */
import { parentPort, workerData } from 'node:worker_threads';
import { MinkeError } from '@minke/core';
import { FolderSampler } from './folder-sampler.ts';
import type { FromSampler, ToSampler, WorkerSamplerOptions } from './sampler-protocol.ts';

const port = parentPort as NonNullable<typeof parentPort>;
const send = (message: FromSampler): void => port.postMessage(message);

async function start({ backend, threads, ...sizes }: WorkerSamplerOptions): Promise<FolderSampler> {
  // Only this thread needs a backend: whoever brings a sampler of their own need not install one.
  const backends = await import('@minke/gpu-backends');
  const settings = threads === undefined ? {} : { threads };
  return new FolderSampler(
    await (backend === undefined ? backends.auto(settings) : backends.createBackend(backend, settings)),
    sizes,
  );
}

const sampler = start(workerData as WorkerSamplerOptions);
sampler.catch(() => {}); // whoever asks is told
/** Calls begin in the order they came, and a request does not begin before the updates in front of it are over. */
let updates: Promise<unknown> = sampler;
const running = new Map<number, AbortController>();

function answer(message: Exclude<ToSampler, { type: 'cancel' }>) {
  if (message.type === 'update') {
    const updated = updates.then(async () => (await sampler).update(message.policy));
    updates = updated.catch(() => {});
    return updated;
  }
  const cancel = new AbortController();
  running.set(message.id, cancel);
  return updates
    .then(async () => (await sampler).sample(message.request, cancel.signal))
    .finally(() => running.delete(message.id));
}

port.on('message', (message: ToSampler) => {
  const { id } = message;
  if (message.type === 'cancel') running.get(id)?.abort();
  else
    answer(message).then(
      (samples) => send({ type: 'done', id, ...(samples && { samples }) }),
      (problem: unknown) => {
        const known = MinkeError.isInstance(problem) ? problem : new MinkeError('internal', String(problem));
        send({ type: 'failed', id, code: known.code, message: known.message, details: { ...known.details } });
      },
    );
});
