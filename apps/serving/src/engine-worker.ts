/**
 * The engine's thread: loads the model, runs every request, answers in messages.
 */
import { randomInt } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { MinkeError } from '@minke/core';
import { auto, type BackendName, createBackend } from '@minke/gpu-backends';
import { chat, Engine, loadAnyLanguageModel, type TextFormat } from '@minke/inference';
import type { FromWorker, ToWorker, WorkerOptions } from './engine-protocol.ts';
import { modelFacts } from './model-facts.ts';

const port = parentPort as NonNullable<typeof parentPort>;
const send = (message: FromWorker): void => port.postMessage(message);

async function load(options: WorkerOptions): Promise<{ engine: Engine; language: TextFormat }> {
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const backend = await (options.backend === undefined
    ? auto(threads)
    : createBackend(options.backend as BackendName, threads));
  const { maxSequences, maxWaiting, quantize, cacheType } = options;
  const language = await loadAnyLanguageModel(options.modelFolder, { backend, quantize });
  const engine = new Engine(language.model, {
    ...(maxSequences !== undefined && { maxSequences }),
    ...(maxWaiting !== undefined && { maxWaiting }),
    cacheType,
  });
  send({ type: 'ready', facts: await modelFacts(options.modelFolder, language, engine, backend.info) });
  return { engine, language };
}

async function answer(
  engine: Engine,
  language: TextFormat,
  { id, job }: ToWorker & { type: 'chat' },
  signal: AbortSignal,
): Promise<void> {
  try {
    const seed = job.seed ?? randomInt(2 ** 47);
    const options = { ...job, seed, signal, onAdmitted: () => send({ type: 'admitted', id }) };
    for await (const part of chat(engine, language, job.messages, options)) {
      if (part.finish !== undefined) send({ type: 'end', id, finish: part.finish, usage: part.usage });
      else if (part.thought !== undefined) send({ type: 'part', id, thought: part.thought });
      else send({ type: 'part', id, text: part.text });
    }
  } catch (problem) {
    send({ type: 'error', id, ...describe(problem) });
  }
}

function describe(problem: unknown): { code: string; message: string; details: Record<string, unknown> } {
  if (MinkeError.isInstance(problem)) {
    return { code: problem.code, message: problem.message, details: { ...problem.details } };
  }
  console.error(problem);
  const message = problem instanceof Error ? problem.message : String(problem);
  return { code: 'internal', message, details: {} };
}

const running = new Map<number, AbortController>();
try {
  const { engine, language } = await load(workerData as WorkerOptions);
  port.on('message', (message: ToWorker) => {
    const { type, id } = message;
    if (type === 'cancel') running.get(id)?.abort();
    else if (type === 'load') send({ type: 'load', id, load: engine.load });
    else {
      const cancel = new AbortController();
      running.set(id, cancel);
      void answer(engine, language, message, cancel.signal).finally(() => running.delete(id));
    }
  });
} catch (problem) {
  const { code, message } = describe(problem);
  send({ type: 'failed', code, message });
}
