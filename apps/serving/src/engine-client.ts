/**
 * The HTTP thread's side of the engine: starts the worker, turns its messages into one async stream a
 * request, cancels what nobody reads any more. The event loop here never computes.
 */
import { Worker } from 'node:worker_threads';
import { type ErrorCode, MinkeError } from '@minke/core';
import type { EngineLoad } from '@minke/inference';
import { ApiError } from './api-error.ts';
import type { ChatJob, FromWorker, ModelFacts, ToWorker, Usage, WorkerOptions } from './engine-protocol.ts';

/** What a chat request gives, in order: `admitted`, parts, `end`. */
export type ChatEvent =
  | { readonly type: 'admitted' }
  | { readonly type: 'part'; readonly thought?: string; readonly text?: string }
  | { readonly type: 'end'; readonly finish: 'stop' | 'length'; readonly usage: Usage };

interface Pending {
  readonly events: ChatEvent[];
  failure: unknown;
  wake: () => void;
}

/** How long the worker may take to say how busy it is. */
const loadTimeoutMs = 5000;

export class EngineClient {
  readonly facts: ModelFacts;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  readonly #loads = new Map<number, (load: EngineLoad | undefined) => void>();
  #next = 0;
  #alive = true;

  private constructor(worker: Worker, facts: ModelFacts) {
    this.#worker = worker;
    this.facts = facts;
  }

  /**
   * Starts the worker and waits until the model has loaded. Rejects with the loading error.
   * @param script built `engine-worker.js`
   * @param onWorker given the thread itself, for tests of its death
   */
  static async start(
    script: URL,
    options: WorkerOptions,
    onWorker?: (worker: Worker) => void,
  ): Promise<EngineClient> {
    // The parent's flags (module conditions, loaders, a debugger's port) are not for this thread.
    const worker = new Worker(script, { workerData: options, execArgv: [] });
    onWorker?.(worker);
    let client: EngineClient | undefined;
    try {
      return await new Promise<EngineClient>((resolve, reject) => {
        worker.on('message', (message: FromWorker) => {
          if (message.type === 'ready') {
            client = new EngineClient(worker, message.facts);
            resolve(client);
          } else if (message.type === 'failed') {
            reject(new MinkeError(message.code as ErrorCode, message.message));
          } else if (client !== undefined) client.#receive(message);
        });
        worker.on('error', (problem) => {
          if (client !== undefined) client.#lost(problem);
          reject(problem);
        });
        worker.on('exit', (code) => {
          if (client !== undefined) client.#lost();
          reject(new MinkeError('internal', `engine: its thread ended with code ${code} while loading`));
        });
      });
    } catch (problem) {
      await worker.terminate();
      throw problem;
    }
  }

  /** False once the worker has died; requests then fail at once. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Requests the engine computes and queues; undefined when its thread has died or does not answer. */
  async load(): Promise<EngineLoad | undefined> {
    if (!this.#alive) return undefined;
    const id = this.#next++;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve) => {
        this.#loads.set(id, resolve);
        timer = setTimeout(() => resolve(undefined), loadTimeoutMs);
        this.#send({ type: 'load', id });
      });
    } finally {
      clearTimeout(timer);
      this.#loads.delete(id);
    }
  }

  /**
   * Runs one chat completion. The first event comes once the engine has taken the request, so that a refusal is
   * known before anything is sent. The signal, or ending the iteration, cancels the request.
   */
  async *chat(job: ChatJob, signal: AbortSignal): AsyncGenerator<ChatEvent, void, void> {
    if (!this.#alive) throw gone();
    const id = this.#next++;
    const pending: Pending = { events: [], failure: undefined, wake: () => {} };
    const abort = () => {
      pending.failure ??= new MinkeError('aborted', 'chat: the client has gone');
      pending.wake();
    };
    this.#pending.set(id, pending);
    this.#send({ type: 'chat', id, job });
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    let ended = false;
    try {
      for (let next = 0; ; ) {
        while (next < pending.events.length) {
          const event = pending.events[next++] as ChatEvent;
          ended = event.type === 'end';
          yield event;
          if (ended) return;
        }
        if (pending.failure !== undefined) throw pending.failure;
        await new Promise<void>((resolve) => {
          pending.wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener('abort', abort);
      this.#pending.delete(id);
      if (!ended && this.#alive) this.#send({ type: 'cancel', id });
    }
  }

  /** Ends the worker, and with it every request. */
  async stop(): Promise<void> {
    this.#alive = false;
    await this.#worker.terminate();
    this.#lost();
  }

  #send(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #receive(message: Exclude<FromWorker, { type: 'ready' | 'failed' }>): void {
    if (message.type === 'load') {
      this.#loads.get(message.id)?.(message.load);
      return;
    }
    const { id, ...event } = message;
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    if (event.type === 'error') {
      const { code, message: text, details } = event;
      pending.failure ??= new MinkeError(code as ErrorCode, text, { details });
    } else pending.events.push(event);
    pending.wake();
  }

  #lost(problem?: unknown): void {
    if (problem !== undefined) console.error('the engine failed:', problem);
    this.#alive = false;
    for (const resolve of this.#loads.values()) resolve(undefined);
    for (const pending of this.#pending.values()) {
      pending.failure ??= gone();
      pending.wake();
    }
  }
}

function gone(): ApiError {
  return new ApiError(503, 'unavailable_error', 'the engine has ended; restart the server');
}
