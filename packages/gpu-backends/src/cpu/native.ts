/**
 * The native backend: the C++ kernels as a Node add-on with its own threads.
 *
 * Node's modules are loaded when they are needed, so that a browser can import this file. The add-on is
 * looked for where `MINKE_NATIVE` points, then in the package's `build` folder.
 */
import { type Backend, check, type HostArray, MinkeError } from '@minke/core';
import { CpuBackend, type Machine } from './cpu-backend.ts';

interface Addon {
  create(threads: number, instructionSet: string): number;
  instructionSets(): string;
  destroy(engine: number): void;
  allocate(engine: number, bytes: number): number;
  release(engine: number, address: number, bytes: number): void;
  write(address: number, data: HostArray): void;
  read(address: number, into: HostArray): void;
  run(engine: number, program: Float64Array): number;
}

export interface NativeOptions {
  /** Threads of parallel loops, the calling one included; 1 to 64. Default: the cores there are, at most 8. */
  readonly threads?: number;
  /** `avx512bf16`, `avx512`, `avx2`, `neondotprod` or `neon`; default the best one of this processor. */
  readonly instructionSet?: string;
}

/** Whether the add-on can be used, and why not. */
export interface NativeAvailability {
  readonly available: boolean;
  readonly reason: string;
}

let loaded: { addon?: Addon; reason: string } | undefined;

function load(): { addon?: Addon; reason: string } {
  if (loaded !== undefined) return loaded;
  // `getBuiltinModule` reaches Node's modules without an import that bundlers for browsers would follow.
  const builtin = typeof process === 'undefined' ? undefined : process.getBuiltinModule;
  if (builtin === undefined) return (loaded = { reason: 'no add-ons outside Node' });
  const { existsSync } = builtin('node:fs');
  const { createRequire } = builtin('node:module');
  const { fileURLToPath } = builtin('node:url');
  const chosen = process.env.MINKE_NATIVE;
  // From src/cpu in the repository and from dist or dist/cpu in the built package.
  const places = chosen
    ? [chosen]
    : ['../../build/minke.node', '../build/minke.node'].map((path) =>
        fileURLToPath(new URL(path, import.meta.url)),
      );
  const file = places.find((path) => existsSync(path));
  if (file === undefined) {
    loaded = {
      reason: `the native add-on is not built (${places[0]}); run node tools/kernels/build-native.mjs`,
    };
    return loaded;
  }
  try {
    const addon = createRequire(import.meta.url)(file) as Addon;
    const [best] = addon.instructionSets().split(',');
    loaded = best
      ? { addon, reason: `native add-on with ${best}` }
      : { reason: 'this processor has none of the instruction sets that the native add-on was built for' };
  } catch (error) {
    loaded = { reason: `the native add-on does not load: ${(error as Error).message.split('\n')[0]}` };
  }
  return loaded;
}

/**
 * Whether `createNative` will work here, and the reason.
 * @example
 * nativeAvailable(); // { available: true, reason: 'native add-on with avx512bf16' }
 */
export function nativeAvailable(): NativeAvailability {
  const { addon, reason } = load();
  return { available: addon !== undefined, reason };
}

/**
 * The backend on the C++ kernels, compiled for this processor. Results do not depend on `threads`.
 * Throws `unsupported` with the reason when there is no add-on.
 */
export async function createNative(options: NativeOptions = {}): Promise<Backend> {
  const { addon, reason } = load();
  if (addon === undefined) throw new MinkeError('unsupported', `createNative: ${reason}`);
  const { availableParallelism } = process.getBuiltinModule('node:os');
  const threads = options.threads ?? Math.min(availableParallelism(), 8);
  check(
    Number.isInteger(threads) && threads >= 1 && threads <= 64,
    () => `createNative: expected 1 to 64 threads, got ${threads}`,
  );
  const sets = addon.instructionSets().split(',');
  const device = options.instructionSet ?? sets[0]!;
  if (!sets.includes(device))
    throw new MinkeError(
      'unsupported',
      `createNative: expected an instruction set of this processor (${sets.join(', ')}), got ${device}`,
    );
  const engine = addon.create(threads, device);
  const machine: Machine = {
    allocate: (bytes) => addon.allocate(engine, bytes),
    release: (address, bytes) => addon.release(engine, address, bytes),
    write: (address, data) => addon.write(address, data),
    read: (address, into) => addon.read(address, into),
    run: (program) => addon.run(engine, program) === 0,
    dispose: () => addon.destroy(engine),
  };
  return new CpuBackend({ name: 'native', reason, device, threads, bits: 32 }, machine);
}
