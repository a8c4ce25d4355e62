// Everything that must hold, in one run: `npm test` and the checks that need more than Node and npm. A step
// ends with its own `N passed, M failed` line, whose counts are used, or else counts as one check. All steps
// run, whatever fails before them; the end names what failed, as the steps did in lines that begin with FAILED, and the last
// line sums them up.
//
// Two lanes side by side, since few steps keep two cores busy: `npm test`, shown as it runs, and the others, each shown when
// it ends. What is measured against the clock runs alone, and so does what builds the files that others run.
//
//   node tools/ci/run.mjs [step ...]      default: all

import { npm, run, SetupError } from '../scripts/process.mjs';
import { ensureBuilt, ensureNative } from '../scripts/setup.mjs';
import { countLine, parseCountLine, passOrFail, secondsSince } from '../scripts/steps.mjs';
import { ensureCommands } from './apt.mjs';
import { ensurePython } from './python.mjs';

const stepTimeoutMs = 30 * 60_000;
const script = (path) => ({ path, work: (options) => run(process.execPath, [path], options) });

/** `lane`: steps of one lane run in turn, beside those of the other; those without run alone, before or after them. */
const steps = [
  {
    name: 'build',
    title: 'build of every package',
    work: async () => {
      await ensureBuilt({ whole: true }); // kernels beside the packages; `npm test` then finds them made
      await ensureNative({ retry: true });
      return '';
    },
  },
  {
    name: 'test',
    title: 'npm test',
    lane: 'first',
    prepare: ensurePython,
    work: (options) => npm(['test'], options),
  },
  { name: 'pack', title: 'packed packages', lane: 'second', ...script('tools/checks/pack.mjs') },
  {
    name: 'wasm',
    title: 'WebAssembly rebuilt to the same bytes',
    lane: 'second',
    commands: { 'clang-19': 'clang-19', 'wasm-ld-19': 'lld-19' },
    ...script('tools/kernels/check-wasm.mjs'),
  },
  {
    name: 'sanitize',
    title: 'CPU kernels under sanitizers',
    lane: 'second',
    commands: { 'g++': 'g++' },
    ...script('tools/kernels/sanitize.mjs'),
  },
  {
    name: 'webgpu',
    title: 'WebGPU conformance',
    lane: 'second',
    commands: { '/usr/lib/chromium/vk_swiftshader_icd.json': 'chromium' },
    ...script('tools/webgpu/run.mjs'),
  },
  {
    name: 'kills',
    title: 'the recipe killed and resumed',
    lane: 'second',
    work: (options) => run(process.execPath, ['tools/kills/run.mjs', '--kills', '4'], options),
  },
  {
    name: 'pretrained',
    title: 'a pretrained model beside llama.cpp',
    lane: 'second',
    ...script('tools/ci/pretrained.mjs'),
  },
  {
    name: 'page',
    title: 'pages in Chromium',
    commands: { chromium: 'chromium' },
    ...script('tools/browser/run.mjs'),
  },
  { name: 'recipe', title: 'the recipe at its smallest size', ...script('tools/ci/recipe.mjs') },
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
const wanted = steps.filter(({ name }) => names.length === 0 || names.includes(name));
const lanes = wanted.filter(({ lane }) => lane !== undefined);
const firstOfLanes = wanted.indexOf(lanes[0]);
for (const step of wanted) {
  if (step.lane === undefined) await runStep(step, true);
  else if (wanted.indexOf(step) === firstOfLanes) await runLanes(lanes);
}

console.log('');
for (const { title, failures } of results) for (const line of failures) console.log(`${title}: ${line}`);
for (const { title, seconds, counts } of results) {
  console.log(`${title.padEnd(40)} ${seconds.toFixed(0).padStart(5)} s  ${countLine(counts)}`);
}
console.log(`${'all'.padEnd(40)} ${secondsSince(start).toFixed(0).padStart(5)} s`);
const sum = (key) => results.reduce((total, { counts }) => total + counts[key], 0);
const total = { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
console.log(countLine(total));
process.exitCode = total.failed + total.skipped > 0 ? 1 : 0;

/** Both lanes; the second one shows its steps as they end, unless it is the only one. */
async function runLanes(steps) {
  const of = (wanted) => steps.filter(({ lane }) => lane === wanted);
  const inTurn = async (lane, show) => {
    for (const step of lane) await runStep(step, show);
  };
  await Promise.all([inTurn(of('first'), true), inTurn(of('second'), of('first').length === 0)]);
}

async function runStep({ title, commands = {}, prepare, work }, show) {
  const heading = `\n=== ${title}`;
  if (show) console.log(heading);
  const begin = performance.now();
  const end = (counts, output) => {
    if (!show) console.log(`${heading}\n${output}`);
    const failures = output.split('\n').filter((line) => line.startsWith('FAILED'));
    results.push({ title, seconds: secondsSince(begin), counts, failures });
  };
  try {
    await ensureCommands(commands);
    await prepare?.();
    const output = await work({ show, timeoutMs: stepTimeoutMs });
    end(parseCountLine(output) ?? passOrFail(true), output);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    const counts = parseCountLine(error.stdout ?? '');
    const failed = counts?.failed > 0 || counts?.skipped > 0;
    const said = `FAILED: ${error.message}`;
    if (show) console.log(said);
    end(failed ? counts : passOrFail(false), `${error.log ?? ''}\n${said}`);
  }
}
