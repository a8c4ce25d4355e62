/**
 * The WebAssembly backend: the same C++ kernels as SIMD128 code on one thread, in Node and in browsers.
 *
 * The module is part of the package (base64 in `minke-wasm.gen.ts`) and has no imports. Its memory grows up
 * to 4 GiB and moves when it does, so views are made anew for each copy. There is no fused multiply-add in
 * SIMD128: sums differ from the native backend's in the last bits.
 */
import { type Backend, type HostArray, MinkeError } from '@minke/core';
import { CpuBackend, type Machine } from './cpu-backend.ts';
import { wasmBase64 } from './minke-wasm.gen.ts';

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  minkeAllocate(bytes: number): number;
  minkeRelease(address: number, bytes: number): void;
  minkeProgram(words: number): number;
  minkeRun(words: number): number;
}

/** What is used of the global of that name, which type libraries for Node leave out. */
interface WebAssemblyApi {
  compile(bytes: Uint8Array): Promise<object>;
  instantiate(module: object): Promise<{ readonly exports: object }>;
}

/** Addresses above 2 GiB come out of the module as negative numbers. */
const unsigned = (address: number) => address >>> 0;
const largest = 2 ** 31;

let compiled: Promise<object> | undefined;

async function instantiate(): Promise<Exports> {
  const { WebAssembly: api } = globalThis as { WebAssembly?: WebAssemblyApi };
  if (api === undefined) throw new Error('an environment without WebAssembly');
  compiled ??= api.compile(Uint8Array.from(atob(wasmBase64), (c) => c.charCodeAt(0)));
  return (await api.instantiate(await compiled)).exports as Exports;
}

/**
 * The backend on the WebAssembly kernels. Throws `unsupported` where WebAssembly or its SIMD is missing.
 * @example
 * const backend = await createWasm();
 */
export async function createWasm(): Promise<Backend> {
  let exports: Exports;
  try {
    exports = await instantiate();
  } catch (cause) {
    throw new MinkeError('unsupported', `createWasm: expected WebAssembly with SIMD, got: ${String(cause)}`, {
      cause,
    });
  }
  const { memory } = exports;
  const bytesAt = (address: number, length: number) => new Uint8Array(memory.buffer, address, length);
  const bytesOf = (data: HostArray) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const machine: Machine = {
    allocate: (bytes) => (bytes > largest ? 0 : unsigned(exports.minkeAllocate(bytes))),
    release: (address, bytes) => exports.minkeRelease(address, bytes),
    write: (address, data) => bytesAt(address, data.byteLength).set(bytesOf(data)),
    read: (address, into) => bytesOf(into).set(bytesAt(address, into.byteLength)),
    run(program) {
      const address = unsigned(exports.minkeProgram(program.length));
      if (address === 0) return false;
      new Float64Array(memory.buffer, address, program.length).set(program);
      return exports.minkeRun(program.length) === 0;
    },
    dispose: () => {},
  };
  return new CpuBackend(
    { name: 'wasm', reason: 'WebAssembly kernels on one thread', device: 'simd128', threads: 1, bits: 32 },
    machine,
  );
}
