// Compiles the Node add-on with the machine's own C++ compiler into packages/gpu-backends/build/minke.node, for the
// instruction sets that this processor has.
//
// Does nothing when the sources, the compiler, the processor and this script are those of the last build. Without a
// compiler it says so in one line and exits with 0: everything works without the add-on, only slower.
// Usage: node tools/kernels/build-native.mjs [--quiet]

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const packageDir = join(root, 'packages/gpu-backends');
export const sourceDir = join(packageDir, 'kernels');
const buildDir = join(packageDir, 'build');
const target = join(buildDir, 'minke.node');
const stamp = join(buildDir, 'minke.stamp');
const say = (text) => process.argv.includes('--quiet') || console.log(`kernels: ${text}`);

export const compilerFlags = [
  '-std=c++17',
  '-O3',
  '-fPIC',
  '-fvisibility=hidden',
  '-ffp-contract=off',
  '-fno-math-errno',
  '-DNDEBUG',
  '-Wall',
  '-Wextra',
  '-Wno-psabi',
  '-Wno-maybe-uninitialized',
  '-Wno-uninitialized',
  '-Wno-unknown-warning-option',
];

const avx512 = [
  '-mavx512f',
  '-mavx512bw',
  '-mavx512dq',
  '-mavx512vl',
  '-mavx2',
  '-mfma',
  '-mbmi2',
  '-mf16c',
  '-mprefer-vector-width=512',
];

/** What kernels.cc can be compiled for on each architecture, the best one first. */
export const instructionSetsOf = {
  x64: [
    { name: 'Avx512Bf16', flags: [...avx512, '-mavx512bf16', '-mavx512vnni'] },
    { name: 'Avx512', flags: avx512 },
    { name: 'Avx2', flags: ['-mavx2', '-mfma', '-mbmi2', '-mf16c'] },
  ],
  arm64: [
    // What Linux and macOS call the feature that a set needs beyond the architecture's first version.
    {
      name: 'NeonDotprod',
      flags: ['-march=armv8.2-a+dotprod'],
      feature: { linux: 'asimddp', darwin: 'FEAT_DotProd' },
    },
    { name: 'Neon', flags: ['-march=armv8-a'] },
  ],
};

/** Those of this machine's architecture. The add-on has those of the processor. */
export const instructionSets = instructionSetsOf[process.arch] ?? [{ name: 'Generic', flags: [] }];

/** Names of an ARM processor's features, as the system gives them. */
function armFeatures() {
  if (process.platform === 'darwin') {
    const { stdout } = spawnSync('sysctl', ['hw.optional.arm'], { encoding: 'utf8' });
    return [...(stdout ?? '').matchAll(/^hw\.optional\.arm\.(\w+): 1$/gm)].map(([, name]) => name);
  }
  if (!existsSync('/proc/cpuinfo')) return [];
  return /^Features\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].trim().split(/\s+/) ?? [];
}

/**
 * Those of `instructionSets` that this processor has; on x86 by the macros that the compiler defines for it. A user
 * waits for each, so what cannot run here is not compiled.
 */
function setsOfProcessor(compiler) {
  if (process.arch === 'arm64') {
    const features = armFeatures();
    return instructionSets.filter(({ feature }) => !feature || features.includes(feature[process.platform]));
  }
  const { stdout = '' } = spawnSync(compiler, ['-march=native', '-dM', '-E', '-x', 'c++', '/dev/null'], {
    encoding: 'utf8',
  });
  const defined = new Set(stdout.match(/__\w+__/g));
  const macro = (flag) => `__${flag.slice('-m'.length).toUpperCase()}__`;
  return instructionSets.filter(({ flags }) =>
    flags.every((flag) => flag.includes('=') || defined.has(macro(flag))),
  );
}

function sourceHash(compiler) {
  const hash = createHash('sha256');
  hash.update(readFileSync(fileURLToPath(import.meta.url)));
  for (const name of readdirSync(sourceDir).sort())
    hash.update(name).update(readFileSync(join(sourceDir, name)));
  const features = process.arch === 'arm64' ? armFeatures().join(' ') : '';
  const machine = `${process.platform} ${process.arch} ${cpus()[0]?.model} ${features}`;
  return hash.update(`${compiler} ${machine}`).digest('hex');
}

/** What kernels.cc needs for an instruction set, beside `compilerFlags`. */
export const kernelFlags = ({ name, flags }) => [
  ...flags,
  ...['-fno-exceptions', '-fno-rtti', `-DMINKE_NS=minke${name}`, `-DMINKE_RUN=minkeRun${name}`],
];

/** What the units of an add-on with these instruction sets need, beside `compilerFlags`. */
export function addonFlags(sets) {
  const { include_dir: headers } = createRequire(join(packageDir, 'package.json'))('node-api-headers');
  return [`-I${headers}`, '-DNAPI_VERSION=8', ...sets.map(({ name }) => `-DMINKE_${name.toUpperCase()}`)];
}

/** Names to try, before any is run: cheap, so that an up-to-date build is recognised at once. */
const { CXX } = process.env;
const candidates = [CXX, 'g++', 'clang++', 'c++'].filter(Boolean);

export function findCompiler() {
  return candidates.find((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0);
}

export function runCompiler(compiler, args) {
  return new Promise((done, fail) => {
    const child = spawn(compiler, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    child.stdout.on('data', (text) => (log += text));
    child.stderr.on('data', (text) => (log += text));
    child.on('error', fail);
    child.on('close', (code) =>
      code === 0 ? done(log) : fail(new Error(`${compiler} ${args.join(' ')}\n${log}`)),
    );
  });
}

/**
 * Compiles and links an add-on with these instruction sets, its objects in `work`; what the compiler said.
 * Undefined names are those that Node brings.
 */
export async function compileAddon(compiler, sets, work, output, platform = process.platform) {
  const units = [
    ...sets.map((set) => ({
      source: 'kernels.cc',
      object: `kernels-${set.name}.o`,
      flags: kernelFlags(set),
    })),
    ...['pool.cc', 'native.cc'].map((source) => ({
      source,
      object: source.replace('.cc', '.o'),
      flags: addonFlags(sets),
    })),
  ].map((unit) => ({ ...unit, object: join(work, unit.object) }));
  const logs = await Promise.all(
    units.map(({ source, object, flags }) =>
      runCompiler(compiler, [...compilerFlags, ...flags, '-c', join(sourceDir, source), '-o', object]),
    ),
  );
  const linkFlags =
    platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared', '-pthread', '-Wl,-s'];
  await runCompiler(compiler, [...linkFlags, ...units.map((unit) => unit.object), '-o', output]);
  return logs.join('').trim();
}

async function build() {
  const hash = sourceHash(CXX ?? '');
  if (existsSync(target) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash)
    return 'native add-on is up to date';
  if (process.platform === 'win32') return 'no native build on Windows; the WebAssembly build will be used';
  const compiler = findCompiler();
  if (!compiler) return 'no C++ compiler found; the WebAssembly build will be used (slower)';
  const sets = setsOfProcessor(compiler);
  if (sets.length === 0) {
    rmSync(target, { force: true });
    return 'this processor has no AVX2; the WebAssembly build will be used (slower)';
  }
  const started = Date.now();
  const work = join(buildDir, `work-${process.pid}`);
  mkdirSync(work, { recursive: true });
  try {
    const output = join(work, 'minke.node');
    const warnings = await compileAddon(compiler, sets, work, output);
    // A new file in place of the old one: a process that has the old add-on loaded keeps it.
    renameSync(output, target);
    writeFileSync(stamp, hash);
    return `${warnings ? `${warnings}\n` : ''}native add-on built with ${compiler} for ${sets.map(({ name }) => name).join(', ')} in ${((Date.now() - started) / 1000).toFixed(1)} s`;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    say(await build());
  } catch (error) {
    console.error(
      `kernels: the native add-on did not compile; the WebAssembly build will be used\n${error.message}`,
    );
    process.exitCode = process.argv.includes('--strict') ? 1 : 0;
  }
}
