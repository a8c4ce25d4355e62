/** The builds of the CPU kernels that this machine can run: each instruction set takes other paths through them. */
import { setFlagsFromString } from 'node:v8';
import { type Backend, MinkeError } from '@minke/core';
import { createNative, createWasm, hasRelaxedSimd, nativeAvailable } from '../cpu/index.ts';

/** A build under test. */
export interface Build {
  readonly name: string;
  readonly create: () => Promise<Backend>;
}

/** Both builds of WebAssembly; Node 20 has relaxed SIMD behind a flag, which counts for modules compiled from then on. */
export function wasmBuilds(): Build[] {
  if (!hasRelaxedSimd()) setFlagsFromString('--experimental-wasm-relaxed-simd');
  return [
    { name: 'wasm', create: () => createWasm({ threads: 2, instructionSet: 'simd128' }) },
    { name: 'wasm relaxed', create: () => createWasm({ threads: 1, instructionSet: 'relaxed-simd' }) },
  ];
}

/** WebAssembly, and where the add-on is there it on two threads and with each of the processor's instruction sets. */
export async function cpuBuilds(): Promise<Build[]> {
  const builds = wasmBuilds();
  const { available, reason } = nativeAvailable();
  if (!available) {
    console.warn(`native backend not tested: ${reason}`);
    return builds;
  }
  builds.push({ name: 'native', create: () => createNative({ threads: 2 }) });
  for (const instructionSet of ['avx512', 'avx2', 'neondotprod', 'neon']) {
    const create = () => createNative({ threads: 1, instructionSet });
    try {
      (await create()).dispose();
      builds.push({ name: `native ${instructionSet}, one thread`, create });
    } catch (error) {
      // Not an instruction set of this processor: its path cannot run here. Anything else is a failure.
      if (!MinkeError.isInstance(error) || error.code !== 'unsupported') throw error;
    }
  }
  return builds;
}
