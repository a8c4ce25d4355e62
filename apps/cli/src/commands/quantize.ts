/** `minke quantize`: a model in integers of 8 or 4 bits, as a folder that every command takes. */
import { access } from 'node:fs/promises';
import { MinkeError } from '@minke/core';
import { quantizeLanguageModel } from '@minke/inference';
import { formatQuantization, rulesOf } from '@minke/transformer';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { progressLine } from '../eval-progress.ts';
import {
  addBackendOptions,
  addModelArgument,
  type BackendOptions,
  interruptSignal,
  openBackend,
  positiveInteger,
  printJson,
} from '../options.ts';
import { formatPerplexity, perplexityChange } from '../quantize-perplexity.ts';
import { quantizeProgress } from '../quantize-progress.ts';

interface Options extends BackendOptions {
  readonly out: string;
  readonly type: 'q8_0' | 'q4_0';
  readonly keep: readonly string[];
  readonly override: readonly string[];
  readonly text?: string;
  readonly context: number;
  readonly json?: boolean;
}

export function addQuantize(program: Command): void {
  const command = program
    .command('quantize')
    .description(
      'write a model in integers of 8 or 4 bits, a piece of a tensor at a time, and say what it loses',
    )
    .requiredOption('--out <folder>', 'model folder to write; nothing is replaced')
    .addOption(
      new Option('--type <type>', 'of the matrices of linear layers: 8.5 or 4.5 bits a weight')
        .choices(['q8_0', 'q4_0'])
        .default('q4_0'),
    )
    .option(
      '--keep <pattern...>',
      'tensors to leave as they are, such as "lm_head.weight" or "*.o_proj.weight"; routers, norms, embeddings and kv_b_proj are left anyhow',
      [],
    )
    .addOption(
      new Option(
        '--override <pattern=type...>',
        'another type for some tensors, q8_0, q4_0, bf16 or f32, such as "*.down_proj*=q8_0"; the last that matches holds',
      )
        .default([])
        .argParser((text: string, before: readonly string[]) => {
          try {
            rulesOf([text], []);
          } catch (problem) {
            throw new InvalidArgumentError(`${(problem as Error).message}.`);
          }
          return [...before, text];
        }),
    )
    .option(
      '--text <file>',
      'measure the perplexity of this text before and after; needs memory for the original in f32',
    )
    .option('--context <n>', 'tokens of a window of the text', positiveInteger, 512)
    .option('--json', 'print the report as one JSON object');
  addModelArgument(command);
  addBackendOptions(command).action(async (from: string, options: Options) => {
    const { out, type, keep, override, text, context } = options;
    if (text !== undefined)
      await access(text).catch((problem: Error) => {
        throw new MinkeError('invalid-file', `quantize: cannot read the text ${text}: ${problem.message}`);
      });
    const signal = interruptSignal();
    const backend = await openBackend(options);
    const line = progressLine();
    const told = quantizeProgress(performance.now());
    let shown = 0;
    try {
      const report = await quantizeLanguageModel(from, out, {
        backend,
        type,
        rules: rulesOf(override, keep),
        signal,
        onProgress: (progress) => {
          const now = performance.now();
          if (now - shown < 100 && progress.done < progress.total) return;
          shown = now;
          line.show(told(progress, now));
        },
      });
      if (shown > 0) line.end();
      const perplexity =
        text === undefined
          ? null
          : await perplexityChange([from, out], text, {
              backend,
              context,
              onStep: (step) => process.stderr.write(`${step}\n`),
            });
      if (options.json) printJson({ ...report, perplexity });
      else {
        process.stdout.write(`${formatQuantization(report)}\n`);
        if (perplexity !== null) process.stdout.write(`${formatPerplexity(perplexity)}\n`);
        process.stdout.write(`${report.folder}\n`);
      }
    } finally {
      backend.dispose();
    }
  });
}
