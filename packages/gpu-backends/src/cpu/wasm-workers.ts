/**
 * Threads of the WebAssembly module: workers that each have an instance over the same memory.
 *
 * In Node they are of `node:worker_threads`; elsewhere web workers from a script in a Blob, which needs a page that is
 * cross-origin isolated (served with `Cross-Origin-Opener-Policy: same-origin` and `Cross-Origin-Embedder-Policy:
 * require-corp`) and whose Content-Security-Policy, if it has one, allows `worker-src blob:`. A worker never returns to
 * its event loop once it has said that it is ready.
 */
import type { WasmMemory } from './wasm-module.ts';

/** What a worker is given. */
export interface WorkerStart {
  readonly module: object;
  readonly memory: WasmMemory;
  /** Its number, from 1. */
  readonly thread: number;
  /** End of the memory that is its stack. */
  readonly stack: number;
}

/** The script: `receive` and `send` are the environment's. */
const life = `
receive(async ({ module, memory, thread, stack }) => {
  try {
    const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
    exports.__stack_pointer.value = stack;
    send('');
    exports.minkeWork(thread);
  } catch (error) {
    send(String(error));
  }
});`;
const nodeScript = `
const { parentPort, workerData } = require('node:worker_threads');
const receive = (start) => start(workerData);
const send = (message) => parentPort.postMessage(message);
${life}`;
const webScript = `
const receive = (start) => addEventListener('message', ({ data }) => start(data));
const send = (message) => postMessage(message);
${life}`;

/** What is used of the web's worker, which type libraries for Node leave out. */
interface WebWorker {
  postMessage(message: unknown): void;
  terminate(): void;
  onmessage: ((event: { data: string }) => void) | null;
  onerror: ((event: { message?: string; preventDefault(): void }) => void) | null;
}

interface WebGlobals {
  readonly Worker?: new (url: string) => WebWorker;
  readonly crossOriginIsolated?: boolean;
  readonly navigator?: { readonly hardwareConcurrency?: number };
}

/** A running worker. */
export interface WasmWorker {
  terminate(): void;
}

const web = globalThis as WebGlobals;
const builtin = () => (typeof process === 'undefined' ? undefined : process.getBuiltinModule);

/** Threads that this machine can run at once. */
export function hardwareThreads(): number {
  return builtin()?.('node:os').availableParallelism() ?? web.navigator?.hardwareConcurrency ?? 1;
}

/** Why there can be no threads here; undefined where there can. */
export function threadsMissing(): string | undefined {
  if (typeof SharedArrayBuffer === 'undefined')
    return 'the page is not cross-origin isolated (it needs the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp)';
  if (builtin() !== undefined) return undefined;
  if (web.crossOriginIsolated !== true) return 'the page is not cross-origin isolated';
  return web.Worker === undefined ? 'no workers' : undefined;
}

/** Whether this thread may sleep until memory changes: not the main thread of a page. */
export function maySleep(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
    return true;
  } catch {
    return false;
  }
}

/** Starts a worker for each; resolves when all are ready, rejects with what stopped one, and then none is left. */
export async function startWorkers(starts: readonly WorkerStart[]): Promise<readonly WasmWorker[]> {
  const threads = builtin()?.('node:worker_threads');
  const begun = starts.map((start) =>
    threads === undefined ? webWorker(start) : nodeWorker(threads.Worker, start),
  );
  try {
    await Promise.all(begun.map(({ ready }) => ready));
  } catch (error) {
    for (const { worker } of begun) worker?.terminate();
    throw error;
  }
  return begun.map(({ worker }) => worker!);
}

interface Begun {
  readonly worker: WasmWorker | undefined;
  readonly ready: Promise<void>;
}

/** `resolve` or `reject`, by what a worker says: nothing, or an error. */
function answer(resolve: () => void, reject: (error: Error) => void): (message: string) => void {
  return (message) => (message === '' ? resolve() : reject(new Error(message)));
}

function nodeWorker(Worker: typeof import('node:worker_threads').Worker, start: WorkerStart): Begun {
  const worker = new Worker(nodeScript, { eval: true, workerData: start, execArgv: [] });
  const ready = new Promise<void>((resolve, reject) => {
    worker.once('message', answer(resolve, reject));
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`a worker that ended with code ${code}`)));
  });
  return {
    worker: { terminate: () => void worker.terminate() },
    ready: ready.then(() => worker.unref()), // a process ends although its threads wait for work
  };
}

function webWorker(start: WorkerStart): Begun {
  const url = URL.createObjectURL(new Blob([webScript], { type: 'text/javascript' }));
  let worker: WebWorker | undefined;
  const ready = new Promise<void>((resolve, reject) => {
    worker = new web.Worker!(url);
    worker.onmessage = ({ data }) => answer(resolve, reject)(data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message || 'a worker that does not start'));
    };
    worker.postMessage(start);
  });
  return { worker, ready: ready.finally(() => URL.revokeObjectURL(url)) };
}
