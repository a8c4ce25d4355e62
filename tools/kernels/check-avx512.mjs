// The conformance suite on the AVX-512 build of the kernels, on a processor without AVX-512: its intrinsics are emulated
// (emulated-avx512.cc), everything else is the code that such a processor runs. BF16 dot products are left out.
// Usage: node tools/kernels/check-avx512.mjs      takes some minutes; needs a C++ compiler and AVX2

import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  addonFlags,
  compilerFlags,
  findCompiler,
  instructionSets,
  kernelFlags,
  runCompiler,
  sourceDir,
} from './build-native.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const folder = join(root, 'packages/gpu-backends/build/emulated');
const compiler = findCompiler();
const avx2 = instructionSets.find(({ name }) => name === 'Avx2');
if (compiler === undefined || avx2 === undefined) {
  console.error('kernels: expected a C++ compiler and an x86-64 processor, got none');
  process.exit(2);
}

mkdirSync(folder, { recursive: true });
const builds = [
  { name: 'avx512', defines: [], tests: 'avx512' },
  // What only processors with VNNI run.
  { name: 'avx512 with VNNI', defines: ['-DMINKE_EMULATED_VNNI'], tests: 'avx512.*[qQ]uanti[sz]e' },
];
const emulated = builds.map(({ defines }) => ({
  source: join(here, 'emulated-avx512.cc'),
  // Emulated lanes take the compiler long where it unrolls and vectorises them again.
  flags: [...kernelFlags({ name: 'Avx512', flags: avx2.flags }), `-I${sourceDir}`, ...defines, '-O1'],
}));
const units = [
  ...emulated,
  { source: join(sourceDir, 'kernels.cc'), flags: kernelFlags(avx2) },
  { source: join(sourceDir, 'pool.cc'), flags: addonFlags([avx2]) },
  { source: join(sourceDir, 'native.cc'), flags: [...addonFlags([avx2]), '-DMINKE_EMULATED_AVX512'] },
];
const objects = units.map((_, i) => join(folder, `${i}.o`));
await Promise.all(
  units.map(({ source, flags }, i) =>
    runCompiler(compiler, [...compilerFlags, ...flags, '-c', source, '-o', objects[i]]),
  ),
);
const tests = ['conformance.test.ts', 'cpu/cpu-backend.test.ts', 'cpu/quantized.test.ts'].map(
  (name) => `packages/gpu-backends/src/${name}`,
);
for (const [i, build] of builds.entries()) {
  const addon = join(folder, `minke-${i}.node`);
  await runCompiler(compiler, [
    '-shared',
    '-pthread',
    objects[i],
    ...objects.slice(builds.length),
    '-o',
    addon,
  ]);
  console.log(`kernels: ${build.name}`);
  const { status } = spawnSync('npx', ['vitest', 'run', ...tests, '-t', build.tests], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, MINKE_NATIVE: addon },
  });
  if (status !== 0) process.exit(status ?? 1);
}
