// The conformance suite, batch invariance and threads on the ARM builds of the kernels, NEON with and without dot
// products: compiled and linked as build-native.mjs does on such a machine, and run there or else under qemu-user. One
// emulated processor has dot products, the other must do without them. Says nothing about speed.
// Usage: node tools/kernels/check-neon.mjs      some minutes; as root on Debian it installs the compiler and qemu

import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureCommands } from '../ci/apt.mjs';
import {
  addonFlags,
  compileAddon,
  compilerFlags,
  findCompiler,
  instructionSetsOf,
  runCompiler,
  sourceDir,
} from './build-native.mjs';
import { startProcess } from './kernel-process.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const folder = join(root, 'packages/gpu-backends/build/neon');
const emulator = 'qemu-aarch64';
const emulated = process.arch !== 'arm64';
const compiler = emulated ? 'aarch64-linux-gnu-g++' : findCompiler();
/** Which tests of the suites below run on each processor: all of them, and what has no dot products. */
const processors = emulated
  ? [
      { name: 'neoverse-n1', sets: 'neondotprod,neon', tests: 'native' },
      { name: 'cortex-a72', sets: 'neon', tests: 'native neon' },
    ]
  : [{ name: 'this processor', tests: 'native' }];

if (emulated) await ensureCommands({ [compiler]: 'g++-aarch64-linux-gnu', [emulator]: 'qemu-user' });

mkdirSync(folder, { recursive: true });
const sets = instructionSetsOf.arm64;
const started = performance.now();
const warnings = await compileAddon(compiler, sets, folder, join(folder, 'minke.node'));
if (warnings) {
  console.error(warnings);
  process.exit(1);
}
const program = join(folder, 'kernel-process');
await runCompiler(compiler, [
  ...[...compilerFlags, ...addonFlags(sets), `-I${sourceDir}`, join(here, 'kernel-process.cc')],
  ...[...sets.map(({ name }) => `kernels-${name}.o`), 'pool.o'].map((object) => join(folder, object)),
  ...['-pthread', ...(emulated ? ['-static'] : []), '-o', program],
]);
console.log(`kernels: compiled in ${((performance.now() - started) / 1000).toFixed(0)} s`);

const tests = ['conformance.test.ts', 'cpu/cpu-backend.test.ts', 'cpu/quantized.test.ts'].map(
  (name) => `packages/gpu-backends/src/${name}`,
);
for (const { name, sets: expected, tests: pattern } of processors) {
  console.log(`kernels: NEON on ${name}`);
  const command = emulated ? [emulator, '-cpu', name, program] : [program];
  const kernels = startProcess(command, {}, folder);
  const found = kernels.addon.instructionSets();
  const { code, report } = await kernels.finish();
  if (code !== 0 || report !== '' || (expected && found !== expected)) {
    console.error(`kernels: expected the sets ${expected} of ${name}, got ${found}; exit ${code}\n${report}`);
    process.exit(1);
  }
  const options = ['--reporter=dot', '--test-timeout=600000', '--hook-timeout=600000'];
  const { status } = spawnSync('npx', ['vitest', 'run', ...options, ...tests, '-t', pattern], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      MINKE_NATIVE: join(here, 'emulated-addon.mjs'),
      MINKE_KERNEL_PROCESS: JSON.stringify(command),
    },
  });
  if (status !== 0) process.exit(status ?? 1);
}
