// Prepares what would be published from a finished run of the whole recipe (`minke train recipe --preset full`), and
// replaces nothing: the final model in bf16 with its card and what the page says of it, `report.json` with the run's stage
// table and the figures of these very weights, and the rows for the README's table. Refuses, saying the numbers, where
// the model is no replacement (first-light.mjs).
//
//   node tools/tiny-reasoner/prepare.mjs <run folder> [folder]
//                                  after a build; default: runs/tiny-reasoner-next
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { modelCardOf } from '../../apps/r1-recipe/dist/index.js';
import { auto } from '../../packages/gpu-backends/dist/index.js';
import { loadLanguageModel, saveLanguageModel } from '../../packages/inference/dist/index.js';
import { families, missed, readmeRows } from './first-light.mjs';

const root = resolve(import.meta.dirname, '../..');
const [given, out = join(root, 'runs/tiny-reasoner-next')] = process.argv.slice(2);

function refuse(message, code = 1) {
  process.stderr.write(`prepare: ${message}\n`);
  process.exit(code);
}

if (given === undefined) refuse('expected the folder of a finished run of the recipe, got none', 2);
const run = resolve(given);
if (existsSync(out)) refuse(`${out}: expected a folder that is not there yet; remove it, or name another`, 2);

const read = (path) => {
  if (!existsSync(path))
    refuse(`${path}: expected a finished run of the recipe, got none; run it to its end`);
  return JSON.parse(readFileSync(path, 'utf8'));
};
const state = read(join(run, 'state.json'));
const unfinished = state.stages.filter(({ state }) => !['done', 'reused'].includes(state));
if (unfinished.length > 0)
  refuse(`${run}: expected a finished run, got ${unfinished.map(({ name }) => name).join(', ')} left to do`);
const named = (name) => state.stages.find((stage) => stage.name === name);
const final = named(named('measure-final')?.inputs[0]);
const card = modelCardOf(run);
if (final === undefined || card === undefined)
  refuse(`${run}: expected a model measured as final, got none; run the whole recipe`);

const model = join(out, 'model');
mkdirSync(model, { recursive: true });
try {
  const backend = await auto();
  const language = await loadLanguageModel(join(run, final.folder, 'model'), { backend });
  await saveLanguageModel(language, model, { dtype: 'bf16' });
  const parameters = [...language.model.parameters().values()].reduce((sum, { size }) => sum + size, 0);
  backend.dispose();
  writeFileSync(join(model, 'README.md'), card);
  writeFileSync(join(model, 'minke.json'), `${JSON.stringify(pageOf(parameters), null, 2)}\n`);
  const bytes = readdirSync(model).reduce((sum, name) => sum + statSync(join(model, name)).size, 0);
  // The rounded weights, as they would be published.
  const measured = evaluate();
  const problems = missed(measured, { parameters, bytes });
  if (problems.length > 0) {
    const figures = families.map((family) => {
      const found = measured[family]?.passAt1.value;
      return `${family} ${found === undefined ? '-' : `${(100 * found).toFixed(1)} %`}`;
    });
    throw new Error(
      `${run}: no replacement for the published model:\n  ${problems.join('\n  ')}\n  greedy pass@1: ${figures.join(', ')}`,
    );
  }
  const report = read(join(run, 'report.json'));
  const stages = families.map((family) => {
    const { n, passAt1 } = measured[family];
    const { value, low, high } = passAt1;
    return { stage: 'final', metric: `pass@1/${family}`, value, low, high, n, seeds: [0] };
  });
  const json = { ...report, stages: [...report.stages, ...stages] };
  writeFileSync(join(out, 'report.json'), `${JSON.stringify(json, null, 2)}\n`);
  writeFileSync(join(out, 'readme-rows.md'), readmeRows(measured));
  console.log(readmeRows(measured));
  console.log(`prepared in ${out}: model/, report.json, readme-rows.md`);
} catch (problem) {
  rmSync(out, { recursive: true, force: true });
  refuse(problem.message);
}

function evaluate() {
  const cli = join(root, 'apps/cli/dist/main.js');
  const options = ['--split', 'test', '--count', '500', '--seed', '0', '--json'];
  const { status, stdout } = spawnSync(process.execPath, [cli, 'eval', model, ...options], {
    ...{ encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'inherit'] },
  });
  if (status !== 0) throw new Error(`expected minke eval to measure ${model}, got exit code ${status}`);
  return JSON.parse(stdout).families;
}

/** What the chat page says of the model. */
function pageOf(parameters) {
  return {
    id: 'tiny-reasoner',
    description:
      'A small model that thinks before it answers: arithmetic, sorting, counting letters, searches by trial; it also greets and refuses.',
    ability:
      `This model has ${(parameters / 1e6).toFixed(1)} million parameters, some hundred thousand times fewer than DeepSeek-R1, and ` +
      'went through the same recipe on two processor cores. It adds and subtracts whole numbers below 1,000, multiplies below 100, ' +
      'sorts numbers, counts letters, and searches for sums by trial, in English and Spanish. Every question stands alone: it does not ' +
      'remember the one before.',
    examples: ['What is 348 + 977?', 'What is 47 times 86?', 'How many r are in strawberry?', 'Who are you?'],
    turns: 'single',
  };
}
