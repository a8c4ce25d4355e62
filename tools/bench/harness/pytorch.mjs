// The ways PyTorch is measured on this machine: as it is installed, and, on AMD processors with AVX-512, a second
// time with its matrix library persuaded to use it (python/mkl_avx512.cc). Without that MKL stays at AVX2 there, half
// the machine's arithmetic: the second way says how we compare where MKL is at its best.

import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { compileProbe } from '../machine-peak/compile.mjs';
import { startFastest } from './side.mjs';

const shim = compileShim();

/** Suffixes of peer names: '' as installed, '-avx512' where MKL has to be persuaded. */
export const pytorchWays = shim ? ['', '-avx512'] : [''];

/** Starts the fastest variant of a module of tools/bench/python in one of the ways. */
export async function startPytorch(module, way, wish) {
  const preload = way === '-avx512' ? shim.binary : undefined;
  const side = await startFastest(module, { ...wish, preload });
  return preload && side.name ? { ...side, name: `${side.name}, MKL with AVX-512` } : side;
}

function compileShim() {
  const model = cpus()[0]?.model ?? '';
  if (process.platform !== 'linux' || process.arch !== 'x64' || !model.includes('AMD')) return null;
  if (!readFileSync('/proc/cpuinfo', 'utf8').includes(' avx512f ')) return null;
  const source = fileURLToPath(new URL('../python/mkl_avx512.cc', import.meta.url));
  const library = compileProbe(source, ['-shared', '-fPIC']);
  if (library.why) return null;
  process.on('exit', library.dispose);
  return library;
}
