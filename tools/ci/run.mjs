// Everything that must hold, in one run: `npm test`, then the checks that need more than Node and npm. A step
// ends with its own `N passed, M failed` line, whose counts are used, or else counts as one check. All steps
// run, whatever fails before them; the last line sums them up.
//
//   node tools/ci/run.mjs [step ...]      default: all

import { npm, pnpm, run, SetupError } from '../scripts/process.mjs';
import { countLine, parseCountLine, passOrFail, secondsSince } from '../scripts/steps.mjs';
import { ensureCommands } from './apt.mjs';
import { ensurePython } from './python.mjs';

const stepTimeoutMs = 30 * 60_000;
const script = (path) => ({ path, work: (options) => run(process.execPath, [path], options) });

const steps = [
  {
    name: 'test',
    title: 'npm test',
    prepare: ensurePython,
    work: (options) => npm(['test'], options),
  },
  {
    name: 'build',
    title: 'build of every package',
    work: (options) => pnpm(['exec', 'turbo', 'run', 'build', '--output-logs=errors-only'], options),
  },
  { name: 'pack', title: 'packed packages', ...script('tools/checks/pack.mjs') },
  {
    name: 'wasm',
    title: 'WebAssembly rebuilt to the same bytes',
    commands: { 'clang-19': 'clang-19', 'wasm-ld-19': 'lld-19' },
    ...script('tools/kernels/check-wasm.mjs'),
  },
  {
    name: 'sanitize',
    title: 'CPU kernels under sanitizers',
    commands: { 'g++': 'g++' },
    ...script('tools/kernels/sanitize.mjs'),
  },
  {
    name: 'webgpu',
    title: 'WebGPU conformance',
    commands: { '/usr/lib/chromium/vk_swiftshader_icd.json': 'chromium' },
    ...script('tools/webgpu/run.mjs'),
  },
  {
    name: 'page',
    title: 'pages in Chromium',
    commands: { chromium: 'chromium' },
    ...script('tools/browser/run.mjs'),
  },
  { name: 'recipe', title: 'the recipe at its smallest size', ...script('tools/ci/recipe.mjs') },
  {
    name: 'kills',
    title: 'the recipe killed and resumed',
    work: (options) => run(process.execPath, ['tools/kills/run.mjs', '--kills', '4'], options),
  },
  {
    name: 'fresh',
    title: 'fresh clones with and without a compiler',
    ...script('tools/ci/fresh-clone.mjs'),
  },
];

const names = process.argv.slice(2);
const unknown = names.filter((name) => !steps.some((step) => step.name === name));
if (unknown.length > 0) {
  console.error(
    `ci: expected steps out of ${steps.map(({ name }) => name).join(', ')}, got ${unknown.join(', ')}`,
  );
  process.exit(2);
}

const start = performance.now();
const results = [];
for (const step of steps) {
  const wanted = names.length === 0 || names.includes(step.name);
  if (!wanted) continue;
  results.push(await runStep(step));
}

console.log('');
for (const { title, seconds, counts } of results) {
  console.log(`${title.padEnd(40)} ${seconds.toFixed(0).padStart(5)} s  ${countLine(counts)}`);
}
console.log(`${'all'.padEnd(40)} ${secondsSince(start).toFixed(0).padStart(5)} s`);
const sum = (key) => results.reduce((total, { counts }) => total + counts[key], 0);
const total = { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
console.log(countLine(total));
process.exitCode = total.failed + total.skipped > 0 ? 1 : 0;

async function runStep({ title, commands = {}, prepare, work }) {
  console.log(`\n=== ${title}`);
  const begin = performance.now();
  const result = (counts) => ({ title, seconds: secondsSince(begin), counts });
  try {
    await ensureCommands(commands);
    await prepare?.();
    const output = await work({ show: true, timeoutMs: stepTimeoutMs });
    return result(parseCountLine(output) ?? passOrFail(true));
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.log(`${title}: ${error.message}`);
    const counts = parseCountLine(error.stdout ?? '');
    return result(counts?.failed > 0 || counts?.skipped > 0 ? counts : passOrFail(false));
  }
}
