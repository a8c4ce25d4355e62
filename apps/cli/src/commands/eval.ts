/** `minke eval`: how good a model is on held-out reasoning tasks, greedy or sampled, here or behind an endpoint. */
import { writeFileSync } from 'node:fs';
import { type EvaluationReport, evaluate, formatReport } from '@minke/evaluation';
import { complete, Engine, loadAnyLanguageModel, type TextFormat } from '@minke/inference';
import {
  allFamilyNames,
  type Difficulty,
  type FamilyName,
  family,
  familyNames,
  type Problem,
  type Split,
} from '@minke/reasoning-tasks';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { warnOfSpelledMarks } from '../chat-marks.ts';
import { progressLine } from '../eval-progress.ts';
import { evaluationProblems } from '../evaluation-problems.ts';
import {
  addBackendOptions,
  addModelArgument,
  type BackendOptions,
  interruptSignal,
  nonNegativeInteger,
  nonNegativeNumber,
  openBackend,
  positiveInteger,
  printJson,
} from '../options.ts';
import {
  evaluateSamples,
  localSampler,
  remoteSampler,
  type Sample,
  type SampledReport,
  sampledMarkdown,
} from '../sampled-evaluation.ts';
import { familyList, level, share } from '../task-options.ts';

interface Options extends BackendOptions {
  readonly families: readonly FamilyName[];
  readonly level: Difficulty;
  readonly spanish: number;
  readonly count: number;
  readonly split: Split;
  readonly seed: number;
  readonly samples?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly batch: number;
  readonly maxTokens?: number;
  readonly endpoint?: string;
  readonly model?: string;
  readonly records?: string;
  readonly compare?: string;
  readonly report?: string;
  readonly json?: boolean;
}

export function addEval(program: Command): void {
  const command = program
    .command('eval')
    .description(
      'accuracy with 95 % intervals on held-out reasoning tasks: greedy pass@1, or pass@1, pass@k and maj@k of samples',
    )
    .addOption(
      new Option('--families <list>', `families separated by commas, or all; of ${allFamilyNames.join(', ')}`)
        .argParser(familyList)
        .default(familyNames, 'the five core families'),
    )
    .option(
      '--level <n>',
      'level of the problems, 1 to 3, or 4: beyond what is trained (not of the core families)',
      level,
      3,
    )
    .option('--spanish <share>', 'share of questions asked in Spanish', share, 0)
    .option(
      '--count <n>',
      'problems a family, or its whole split where that is smaller',
      positiveInteger,
      500,
    )
    .addOption(
      new Option('--split <split>', 'which problems')
        .choices(['train', 'validation', 'test'])
        .default('test'),
    )
    .option('--seed <n>', 'which sample of the split', nonNegativeInteger, 0)
    .option('--samples <k>', 'samples a problem, for pass@k and maj@k; default: one, greedy', positiveInteger)
    .option(
      '--temperature <t>',
      'of samples; default: 0.6, or 0 (greedy) without --samples',
      nonNegativeNumber,
    )
    .option('--top-p <p>', 'of samples; default: 0.95', probability)
    .option(
      '--batch <n>',
      'answers computed together; with --endpoint, requests at a time (default 8)',
      positiveInteger,
      64,
    )
    .option(
      '--max-tokens <n>',
      'tokens of one answer; default: to the end of the context, or 4,096 of an endpoint',
      positiveInteger,
    )
    .option(
      '--endpoint <url>',
      'evaluate an OpenAI-compatible server instead, key in OPENAI_API_KEY',
      httpUrl,
    )
    .option('--model <name>', 'model of the endpoint')
    .option('--records <file>', 'write one JSON line a sample here: scores, answer, length')
    .option('--compare <file>', 'records of another model: the difference, paired by problem')
    .option('--report <file>', 'also write the report as JSON here')
    .option('--json', 'print the report as JSON');
  addModelArgument(command);
  addBackendOptions(command).action(async (folder: string, options: Options) => {
    const easier = options.families.filter((name) => family(name).levels < options.level);
    if (easier.length > 0)
      command.error(
        `error: --level: expected families that have level ${options.level}, got ${easier.join(', ')}; name others with --families`,
      );
    const remote = options.endpoint !== undefined;
    if (remote !== (options.model !== undefined))
      command.error(
        'error: eval: expected --endpoint and --model together; they name a server and its model',
      );
    if (remote && command.args.length > 0)
      command.error(
        `error: eval: expected a folder or --endpoint, got both ${folder} and ${options.endpoint}`,
      );
    const { samples, temperature = samples === undefined ? 0 : defaultTemperature } = options;
    if (temperature === 0 && (samples ?? 1) > 1)
      command.error('error: --samples: expected one sample at temperature 0, where all are equal');
    const problems = evaluationProblems(options);
    const signal = interruptSignal();
    const sampled =
      remote ||
      samples !== undefined ||
      temperature > 0 ||
      options.records !== undefined ||
      options.compare !== undefined;
    const report = sampled
      ? await sampledReport(folder, problems, { ...options, temperature }, signal, command)
      : await greedyReport(folder, problems, options, signal);
    if (options.report !== undefined) writeFileSync(options.report, `${JSON.stringify(report, null, 2)}\n`);
    if (options.json) printJson(report);
    else process.stdout.write(`${'sampling' in report ? sampledMarkdown(report) : formatReport(report)}\n`);
  });
}

/** R1's, https://arxiv.org/abs/2501.12948, section 3. */
const defaultTemperature = 0.6;
const defaultTopP = 0.95;
/** Few servers take more requests of one client at a time. */
const defaultConcurrency = 8;

function httpUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:/.test(text))
    throw new InvalidArgumentError('expected a URL such as http://127.0.0.1:8000/v1.');
  return text;
}

function probability(text: string): number {
  const value = share(text);
  if (value === 0) throw new InvalidArgumentError('expected a number above 0, at most 1.');
  return value;
}

/** Runs with an engine over a model folder, and frees both. */
async function withModel<T>(
  folder: string,
  options: Options,
  maxWaiting: number,
  run: (engine: Engine, language: TextFormat) => Promise<T>,
): Promise<T> {
  const backend = await openBackend(options);
  const language = await loadAnyLanguageModel(folder, { backend });
  warnOfSpelledMarks(folder, language);
  const engine = new Engine(language.model, { maxSequences: options.batch, maxWaiting });
  const result = await run(engine, language);
  await engine.dispose();
  backend.dispose();
  return result;
}

function greedyReport(
  folder: string,
  problems: readonly Problem[],
  options: Options,
  signal: AbortSignal,
): Promise<EvaluationReport> {
  const { maxTokens } = options;
  return withModel(folder, options, problems.length, async (engine, language) => {
    const progress = progressLine();
    const report = await evaluate({
      problems,
      // Four batches wait at a time, so that a place which becomes free is taken at once.
      batchSize: 4 * options.batch,
      complete: (prompts) =>
        Promise.all(
          prompts.map(
            async (content) =>
              (
                await complete(engine, language, [{ role: 'user', content }], {
                  temperature: 0,
                  maxTokens,
                  signal,
                })
              ).text,
          ),
        ),
      lengthOf: (text) => language.tokenizer.encode(text, { allowSpecial: true }).length,
      onProgress: ({ done, total, correct }) => progress.show(`${done}/${total} answered, ${correct} right`),
    });
    progress.end();
    return report;
  });
}

async function sampledReport(
  folder: string,
  problems: readonly Problem[],
  options: Options & { readonly temperature: number },
  signal: AbortSignal,
  command: Command,
): Promise<SampledReport> {
  const { samples = 1, temperature, topP = defaultTopP, maxTokens, seed, batch } = options;
  const settings = { samples, temperature, topP, seed, ...(maxTokens === undefined ? {} : { maxTokens }) };
  const run = (sample: Sample) =>
    evaluateSamples({
      problems,
      sample,
      settings,
      batchSize: Math.ceil((4 * batch) / samples),
      ...(options.records === undefined ? {} : { recordsFile: options.records }),
      ...(options.compare === undefined ? {} : { compareFile: options.compare }),
    });
  if (options.endpoint !== undefined) {
    const asked = command.getOptionValueSource('batch') === 'cli';
    const endpoint = {
      baseURL: options.endpoint,
      model: options.model as string,
      concurrency: asked ? batch : defaultConcurrency,
    };
    return run(await remoteSampler(endpoint, settings, signal));
  }
  return withModel(folder, options, 8 * batch + samples, (engine, language) =>
    run(localSampler(engine, language, settings, signal)),
  );
}
