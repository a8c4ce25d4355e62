/** `minke train recipe`: the stages of a recipe in a run folder, resumable, with a live page and a report. */
import { basename, extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Backend, MinkeError } from '@minke/core';
import {
  type PlannedStage,
  planRun,
  recipeSettings,
  recipeStages,
  runRecipe,
  type Stage,
} from '@minke/r1-recipe';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { codeVersion } from '../code-version.ts';
import {
  addBackendOptions,
  announce,
  type BackendOptions,
  interruptSignal,
  nonNegativeInteger,
  openBackend,
  printJson,
} from '../options.ts';

const presetNames = ['full', 'demo', 'ci'] as const;

interface Options extends BackendOptions {
  readonly stages?: string;
  readonly controls?: boolean;
  readonly preset: (typeof presetNames)[number];
  readonly out?: string;
  readonly seed: number;
  readonly only?: readonly string[];
  readonly from?: string;
  readonly force?: readonly string[];
  readonly page?: number | true;
  readonly list?: boolean;
  readonly json?: boolean;
}

export function addTrainRecipe(train: Command): void {
  const command = train
    .command('recipe')
    .description('all stages of a recipe, each only when it has to run; a report at the end')
    .option(
      '--stages <module>',
      'another recipe: a JavaScript module whose default export gives the stages of a preset',
    )
    .option('--controls', 'also run what the stages are compared with')
    .addOption(new Option('--preset <name>', 'size of the run').choices(presetNames).default('demo'))
    .option('--out <folder>', 'run folder; a run in it is continued; default: runs/<recipe>-<preset>')
    .option('--seed <n>', 'seed of the whole run', nonNegativeInteger, 0)
    .option('--only <stages>', 'these stages and what they need, separated by commas', names)
    .option('--from <stage>', 'run this stage and all that depend on it afresh')
    .option('--force <stages>', 'run these stages afresh, separated by commas', names)
    .option('--page [port]', 'show the run on a local page; default: a free port', port)
    .option('--list', 'say what would run and why, and run nothing')
    .option('--json', 'print the result as JSON');
  addBackendOptions(command).action(recipe);
}

async function recipe(options: Options): Promise<void> {
  const { preset, seed, only, from, force } = options;
  const backend = options.stages === undefined ? await openBackend(options) : undefined;
  const stages = await stagesOf(options, backend);
  const name = options.stages === undefined ? 'r1' : basename(options.stages, extname(options.stages));
  const folder = options.out ?? join('runs', `${name}-${preset}`);
  const selection = { ...(only && { only }), ...(from !== undefined && { from }), ...(force && { force }) };
  if (options.list) return list(planRun(stages, { folder, seed, ...selection }), options.json === true);
  const page = options.page === true ? 0 : options.page;
  if (backend !== undefined) announce(backend);
  const { stages: results, report } = await runRecipe(stages, {
    folder,
    recipe: `${name} ${preset}`,
    seed,
    ...selection,
    command: ['minke', ...process.argv.slice(2)].join(' '),
    commit: codeVersion(),
    signal: interruptSignal(),
    progress: process.stderr,
    ...(page !== undefined && { page }),
    onPage: (url) => process.stderr.write(`page on ${url}\n`),
  });
  process.stderr.write(`report in ${join(folder, 'report.html')}\n`);
  if (options.json) printJson({ folder, stages: results, report });
}

/** The stages of DeepSeek-R1's recipe on a backend, or without one those of the module that was named. */
async function stagesOf(options: Options, backend: Backend | undefined): Promise<readonly Stage[]> {
  const { preset, stages, controls = false } = options;
  return backend === undefined
    ? loadStages(stages as string, preset)
    : recipeStages(recipeSettings[preset], { backend, controls });
}

/** Throws `invalid-file` for a module that cannot be loaded or gives no stages. */
async function loadStages(path: string, preset: string): Promise<readonly Stage[]> {
  const bad = (got: string, cause?: unknown): MinkeError =>
    new MinkeError(
      'invalid-file',
      `${path}: expected a module whose default export is a function from a preset to stages, got ${got}`,
      { cause },
    );
  let module: { readonly default?: unknown };
  try {
    module = await import(pathToFileURL(resolve(path)).href);
  } catch (cause) {
    throw bad((cause as Error).message, cause);
  }
  if (typeof module.default !== 'function') throw bad(`${typeof module.default}`);
  const stages: unknown = await module.default(preset);
  if (!Array.isArray(stages)) throw bad(`one that returns ${typeof stages}`);
  return stages as Stage[];
}

function list(plan: readonly PlannedStage[], json: boolean): void {
  const rows = plan.map(({ stage, state, why, folder }) => ({
    stage: stage.name,
    state,
    why,
    folder: folder?.path ?? null,
  }));
  if (json) {
    printJson(rows);
    return;
  }
  const widths = [Math.max(...rows.map(({ stage }) => stage.length)), 8] as const;
  for (const { stage, state, why } of rows)
    process.stdout.write(`${stage.padEnd(widths[0])}  ${state.padEnd(widths[1])}  ${why}\n`);
}

function names(text: string): readonly string[] {
  const list = text.split(',').map((name) => name.trim());
  if (list.includes('')) throw new InvalidArgumentError('expected names separated by commas.');
  return list;
}

function port(text: string): number {
  const value = nonNegativeInteger(text);
  if (value > 65535) throw new InvalidArgumentError('expected a port from 0 to 65535.');
  return value;
}
