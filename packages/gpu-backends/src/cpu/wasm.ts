/**
 * The WebAssembly backend: the same C++ kernels, in Node and in browsers, on several threads where memory can be shared.
 *
 * Two builds are part of the package (`wasm-module.ts`). SIMD128 has no fused multiply-add; relaxed SIMD has one that
 * rounds once or twice as the processor pleases. So sums differ from the native backend's, and between the builds, in
 * the last bits; within one build and on one machine they do not, whatever the number of threads.
 *
 * Memory grows up to 4 GiB, and moves or gets a longer view when it does, so views are made anew for each copy.
 */
import { type Backend, check, type HostArray, MinkeError } from '@minke/core';
import { CpuBackend, type Machine } from './cpu-backend.ts';
import {
  compileModule,
  hasRelaxedSimd,
  type WasmInstructionSet,
  type WasmMemory,
  wasmInstructionSets,
  webAssembly,
} from './wasm-module.ts';
import { hardwareThreads, maySleep, startWorkers, threadsMissing, type WasmWorker } from './wasm-workers.ts';

interface Exports {
  minkeAllocate(bytes: number): number;
  minkeRelease(address: number, bytes: number): void;
  minkeProgram(words: number): number;
  minkeRun(words: number): number;
  minkeThreads(workers: number, maySleep: number): void;
}

/** What `createWasm` takes. */
export interface WasmOptions {
  /**
   * Threads of parallel loops, the calling one included; 1 to 64. Default: the cores there are, at most 8. Where memory
   * cannot be shared it is one, and `info.reason` says why.
   */
  readonly threads?: number;
  /** `relaxed-simd` or `simd128`; default the first where the engine has it. */
  readonly instructionSet?: WasmInstructionSet;
}

/** Addresses above 2 GiB come out of the module as negative numbers. */
const unsigned = (address: number) => address >>> 0;
const largest = 2 ** 31;
const mostPages = 65536;
const stackBytes = 262144;

/** An instance, its memory and its threads. */
interface Engine {
  readonly exports: Exports;
  readonly memory: WasmMemory;
  readonly workers: readonly WasmWorker[];
}

/** An engine of so many threads. Rejects where memory or a worker is not to be had. */
async function createEngine(set: WasmInstructionSet, threads: number): Promise<Engine> {
  const shared = threads > 1;
  const { module, memoryPages } = await compileModule(set, shared);
  const api = webAssembly();
  const memory = new api.Memory({ initial: memoryPages, maximum: mostPages, shared });
  const exports = (await api.instantiate(module, { env: { memory } })).exports as Exports;
  const starts = Array.from({ length: threads - 1 }, (_, i) => {
    const end = unsigned(exports.minkeAllocate(stackBytes)) + stackBytes;
    return { module, memory, thread: i + 1, stack: end };
  });
  const workers = await startWorkers(starts);
  if (shared) exports.minkeThreads(workers.length, Number(maySleep()));
  return { exports, memory, workers };
}

/** What was asked for, or one thread and the reason why no more. */
async function createEngineFor(
  set: WasmInstructionSet,
  threads: number,
): Promise<{ engine: Engine; reason: string }> {
  const single = async (why: string) => ({
    engine: await createEngine(set, 1),
    reason: `WebAssembly kernels on one thread${why}`,
  });
  if (threads === 1) return single('');
  const missing = threadsMissing();
  if (missing !== undefined) return single(`: ${missing}`);
  try {
    return {
      engine: await createEngine(set, threads),
      reason: `WebAssembly kernels on ${threads} threads`,
    };
  } catch (error) {
    return single(`: its workers do not start (${(error as Error).message})`);
  }
}

function chooseSet(wish: WasmInstructionSet | undefined): WasmInstructionSet {
  check(
    wish === undefined || wasmInstructionSets.includes(wish),
    () => `createWasm: expected an instruction set of ${wasmInstructionSets.join(', ')}, got ${wish}`,
  );
  const relaxed = hasRelaxedSimd();
  if (wish === 'relaxed-simd' && !relaxed)
    throw new Error('an engine without relaxed SIMD (Node has it from 22 on)');
  return wish ?? (relaxed ? 'relaxed-simd' : 'simd128');
}

/**
 * The backend on the WebAssembly kernels; dispose it, or its threads stay. Throws `unsupported` where WebAssembly or the
 * instructions are missing, `invalid-argument` for options that do not exist.
 * @example
 * const backend = await createWasm({ threads: 2 });
 */
export async function createWasm(options: WasmOptions = {}): Promise<Backend> {
  const threads = options.threads ?? Math.min(hardwareThreads(), 8);
  check(
    Number.isInteger(threads) && threads >= 1 && threads <= 64,
    () => `createWasm: expected 1 to 64 threads, got ${threads}`,
  );
  try {
    const set = chooseSet(options.instructionSet);
    const { engine, reason } = await createEngineFor(set, threads);
    const running = engine.workers.length + 1;
    return new CpuBackend(
      { name: 'wasm', reason, device: set, threads: running, bits: 32 },
      machineOf(engine),
    );
  } catch (cause) {
    if (MinkeError.isInstance(cause)) throw cause;
    throw new MinkeError('unsupported', `createWasm: expected WebAssembly with SIMD, got: ${String(cause)}`, {
      cause,
    });
  }
}

function machineOf({ exports, memory, workers }: Engine): Machine {
  const bufferTo = (end: number) => {
    if (memory.buffer.byteLength < end) memory.grow(0); // another thread made it grow: a view of all of it
    return memory.buffer;
  };
  const bytesAt = (address: number, length: number) =>
    new Uint8Array(bufferTo(address + length), address, length);
  const bytesOf = (data: HostArray) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return {
    allocate: (bytes) => (bytes > largest ? 0 : unsigned(exports.minkeAllocate(bytes))),
    release: (address, bytes) => exports.minkeRelease(address, bytes),
    write: (address, data) => bytesAt(address, data.byteLength).set(bytesOf(data)),
    read: (address, into) => bytesOf(into).set(bytesAt(address, into.byteLength)),
    run(program) {
      const address = unsigned(exports.minkeProgram(program.length));
      if (address === 0) return false;
      new Float64Array(bufferTo(address + program.byteLength), address, program.length).set(program);
      return exports.minkeRun(program.length) === 0;
    },
    dispose: () => {
      for (const worker of workers) worker.terminate();
    },
  };
}
