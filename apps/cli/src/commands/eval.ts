/** `minke eval`: greedy pass@1 on held-out reasoning tasks. */
import { writeFileSync } from 'node:fs';
import { evaluate, formatReport } from '@minke/evaluation';
import { complete, Engine, loadLanguageModel } from '@minke/inference';
import {
  allFamilyNames,
  type Difficulty,
  type FamilyName,
  family,
  familyNames,
  type Split,
} from '@minke/reasoning-tasks';
import { type Command, Option } from 'commander';
import { evaluationProblems } from '../evaluation-problems.ts';
import {
  addBackendOptions,
  addModelArgument,
  type BackendOptions,
  interruptSignal,
  nonNegativeInteger,
  openBackend,
  positiveInteger,
  printJson,
} from '../options.ts';
import { familyList, level, share } from '../task-options.ts';

interface Options extends BackendOptions {
  readonly families: readonly FamilyName[];
  readonly level: Difficulty;
  readonly spanish: number;
  readonly count: number;
  readonly split: Split;
  readonly seed: number;
  readonly batch: number;
  readonly maxTokens?: number;
  readonly report?: string;
  readonly json?: boolean;
}

export function addEval(program: Command): void {
  const command = program
    .command('eval')
    .description('greedy pass@1 with 95 % intervals on held-out reasoning tasks')
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
    .option('--batch <n>', 'problems answered together', positiveInteger, 64)
    .option('--max-tokens <n>', 'tokens of one answer; default: to the end of the context', positiveInteger)
    .option('--report <file>', 'also write the report as JSON here')
    .option('--json', 'print the report as JSON');
  addModelArgument(command);
  addBackendOptions(command).action(async (folder: string, options: Options) => {
    const easier = options.families.filter((name) => family(name).levels < options.level);
    if (easier.length > 0)
      command.error(
        `error: --level: expected families that have level ${options.level}, got ${easier.join(', ')}; name others with --families`,
      );
    const problems = evaluationProblems(options);
    const backend = await openBackend(options);
    const language = await loadLanguageModel(folder, { backend });
    const engine = new Engine(language.model, { maxSequences: options.batch, maxWaiting: problems.length });
    const signal = interruptSignal();
    const { maxTokens } = options;
    let shown = 0;
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
      onProgress: ({ done, total, correct }) => {
        const line = `${done}/${total} answered, ${correct} right`;
        if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${line}`);
        else if (performance.now() - shown > 10_000) {
          process.stderr.write(`${line}\n`);
          shown = performance.now();
        }
      },
    });
    if (process.stderr.isTTY) process.stderr.write('\n');
    if (options.report !== undefined) writeFileSync(options.report, `${JSON.stringify(report, null, 2)}\n`);
    if (options.json) printJson(report);
    else process.stdout.write(`${formatReport(report)}\n`);
    await engine.dispose();
    backend.dispose();
  });
}
