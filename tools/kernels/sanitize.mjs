// The conformance suite on the CPU kernels and their thread pool under the address, undefined-behaviour and
// thread sanitizers of the machine's own compiler, at 1, 2 and 3 threads, for each instruction set this
// processor has. Fails on any report and on any case that does not conform. The kernels run as a program of
// their own (kernel-process.cc), because sanitizers in Node see Node's own memory too.
// Usage: node tools/kernels/sanitize.mjs [--only thread|address] [--seed 1]

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { findCompiler, instructionSets, kernelFlags, runCompiler, sourceDir } from './build-native.mjs';
import { startProcess } from './kernel-process.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const { values: options } = parseArgs({
  options: { only: { type: 'string' }, seed: { type: 'string', default: '1' } },
});

const sanitizers = [
  {
    name: 'address',
    flags: [
      '-fsanitize=address,undefined,float-cast-overflow',
      '-fno-sanitize-recover=all',
      '-fno-omit-frame-pointer',
    ],
    environment: { ASAN_OPTIONS: 'detect_leaks=1:abort_on_error=0', UBSAN_OPTIONS: 'print_stacktrace=1' },
    threads: [1, 2, 3],
  },
  {
    name: 'thread',
    flags: ['-fsanitize=thread'],
    environment: { TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1' },
    threads: [1, 2, 3],
  },
].filter(({ name }) => options.only === undefined || options.only === name);

/** The TypeScript sources, bundled with the bundler that tsup brings. */
async function loadSources(folder) {
  const { build } = createRequire(createRequire(join(root, 'package.json')).resolve('tsup'))('esbuild');
  const outfile = join(folder, 'sources.mjs');
  await build({
    stdin: {
      contents: `export * from './src/conformance.ts';
        export { CpuBackend } from './src/cpu/cpu-backend.ts';
        export { createReference } from './src/reference/index.ts';`,
      resolveDir: join(root, 'packages/gpu-backends'),
    },
    bundle: true,
    format: 'esm',
    platform: 'node',
    conditions: ['minke-source'],
    outfile,
  });
  return import(pathToFileURL(outfile).href);
}

async function compile(compiler, folder, { name, flags }, set) {
  const common = [
    ...['-std=c++17', '-O1', '-g', '-ffp-contract=off', '-fno-math-errno', '-Wno-psabi', '-pthread'],
    ...[...flags, `-DMINKE_${set.name.toUpperCase()}`, `-I${sourceDir}`],
  ];
  const units = [
    { source: join(sourceDir, 'kernels.cc'), own: kernelFlags(set) },
    { source: join(sourceDir, 'pool.cc'), own: [] },
    { source: join(here, 'kernel-process.cc'), own: [] },
  ];
  const objects = units.map((_, i) => join(folder, `${name}-${set.name}-${i}.o`));
  await Promise.all(
    units.map(({ source, own }, i) =>
      runCompiler(compiler, [...common, ...own, '-c', source, '-o', objects[i]]),
    ),
  );
  const program = join(folder, `${name}-${set.name}`);
  await runCompiler(compiler, [...flags, '-pthread', ...objects, '-o', program]);
  return program;
}

/** Runs the suite; the problems found, empty when all is well. */
async function check({ CpuBackend }, cases, reference, program, threads, environment, folder) {
  const kernels = startProcess([program], environment, folder);
  const info = { name: 'native', reason: 'under a sanitizer', device: 'sanitized', threads, bits: 32 };
  const backend = new CpuBackend(info, kernels.createMachine(threads, ''));
  const problems = [];
  for (const { name, run } of cases) {
    const { worst, tolerance, detail } = await run(backend, reference);
    if (!(worst <= tolerance)) problems.push(`${name}: ${detail}`);
    if (detail.includes('the kernels ended')) break;
  }
  try {
    if (!kernels.stress(threads)) problems.push('the pool lost or repeated a task');
    backend.dispose();
  } catch {
    // A program that has ended answers no more; its exit code and report follow.
  }
  const { code, report } = await kernels.finish();
  if (code !== 0 || report !== '') problems.push(`exit ${code}\n${report}`);
  return problems;
}

const compiler = findCompiler();
if (!compiler) {
  console.error('sanitize: no C++ compiler found; install g++');
  process.exit(1);
}
const native = join(root, 'packages/gpu-backends/build/minke.node');
const available = createRequire(import.meta.url)(native)
  .instructionSets()
  .split(',');
const sets = instructionSets.filter(({ name }) => available.includes(name.toLowerCase()));
const folder = mkdtempSync(join(tmpdir(), 'minke-sanitize-'));
let [passed, failed] = [0, 0];
try {
  mkdirSync(folder, { recursive: true });
  const sources = await loadSources(folder);
  const cases = sources.conformanceCases({ seed: Number(options.seed) });
  const reference = sources.createReference();
  for (const sanitizer of sanitizers) {
    for (const set of sets) {
      const started = Date.now();
      const program = await compile(compiler, folder, sanitizer, set);
      console.log(`${sanitizer.name} ${set.name}: built in ${((Date.now() - started) / 1000).toFixed(0)} s`);
      for (const threads of sanitizer.threads) {
        const begin = Date.now();
        const problems = await check(
          sources,
          cases,
          reference,
          program,
          threads,
          sanitizer.environment,
          folder,
        );
        const seconds = ((Date.now() - begin) / 1000).toFixed(0);
        const verdict = problems.length === 0 ? 'nothing found' : `${problems.length} problems`;
        console.log(
          `${sanitizer.name} ${set.name}, ${threads} threads: ${cases.length} cases, ${verdict}, ${seconds} s`,
        );
        for (const problem of problems.slice(-3)) console.log(problem.slice(0, 6000));
        if (problems.length === 0) passed++;
        else failed++;
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
