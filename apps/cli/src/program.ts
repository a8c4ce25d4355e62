/**
 * The command line: what exists, which options it takes, how it ends. The work is in `commands/`, loaded when it
 * is asked for, so that `minke --help` is instant.
 */
import { readFileSync } from 'node:fs';
import { type FamilyName, familyNames } from '@minke/reasoning-tasks';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type ExitCode, report } from './failure.ts';
import { backendOption, idList, realNumber, threadsOption, wholeNumber } from './options.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/**
 * Runs `minke` with these arguments (without the program's name) and tells the exit code: 0 done, 1 failed with
 * a message, 2 wrong usage, 130 interrupted.
 *
 * @example
 * process.exitCode = await run(['logits', 'model', '--ids', '5,9,2', '--json']);
 */
export async function run(args: readonly string[]): Promise<ExitCode> {
  let code: ExitCode = 0;
  const program = buildProgram((result) => {
    code = result;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (problem) {
    if (!(problem instanceof CommanderError)) return report(problem);
    return problem.exitCode === 0 ? 0 : 2;
  }
}

function buildProgram(end: (code: ExitCode) => void): Command {
  const program = new Command('minke')
    .description('DeepSeek-R1-shaped reasoning models: serve, chat, inspect, train, measure.')
    .version(version)
    .exitOverride()
    .showSuggestionAfterError();

  program
    .command('serve')
    .description('serve a model to OpenAI and DeepSeek clients, with a chat page')
    .argument('[folder]', 'model folder; default: the embedded tiny reasoner')
    .addOption(
      new Option('--port <port>', '0 picks a free one')
        .env('PORT')
        .argParser(wholeNumber(0, 65535))
        .default(8000),
    )
    .option('--host <address>', 'address to bind', '127.0.0.1')
    .addOption(backendOption())
    .addOption(threadsOption())
    .action(async (folder, options) => {
      const { serveCommand } = await import('./commands/serve.ts');
      end(await serveCommand(folder, options));
    });

  program
    .command('chat')
    .description('talk to a model here; the thought is dimmed, Ctrl-C stops an answer')
    .argument('[folder]', 'model folder; default: the embedded tiny reasoner')
    .option('-m, --message <text>', 'ask this and end; - reads it from standard input')
    .addOption(new Option('--temperature <number>', 'default: the model’s own').argParser(realNumber(0, 2)))
    .addOption(new Option('--max-tokens <count>', 'thought and answer together').argParser(wholeNumber(1)))
    .addOption(new Option('--seed <number>', 'repeats an answer').argParser(wholeNumber(0)))
    .option('--json', 'print one JSON object a question')
    .addOption(backendOption())
    .addOption(threadsOption())
    .action(async (folder, options) => {
      const { chatCommand } = await import('./commands/chat.ts');
      end(await chatCommand(folder, options));
    });

  program
    .command('logits')
    .description('next-token logits after each position: is my conversion right?')
    .argument('<folder|file>', 'model folder, or a .safetensors file with config.json beside it')
    .addOption(
      new Option('--ids <list>', 'token ids, for example 5,9,2').argParser(idList).makeOptionMandatory(),
    )
    .addOption(new Option('--form <form>', 'attention: default expanded').choices(['expanded', 'absorbed']))
    .option('--step', 'token by token beside the cache (default form: absorbed)')
    .option('--json', 'print {"logits": [[...], ...]}')
    .addOption(backendOption())
    .addOption(threadsOption())
    .action(async (from, options) => {
      const { logits } = await import('./commands/logits.ts');
      await logits(from, options);
    });

  const train = program.command('train').description('train a model');
  train
    .command('sft')
    .description('supervised fine-tuning; the same command again continues an interrupted run')
    .requiredOption('--out <folder>', 'checkpoints, metrics.jsonl, report.json and, at the end, the model')
    .addOption(new Option('--tasks <name>', 'train on the generated reasoning tasks').choices(['mixture']))
    .option('--data <file>', 'train on conversations (JSON lines)')
    .option('--model-config <file>', 'config.json of a new model')
    .option('--tokenizer <folder>', 'folder with tokenizer.json; needed with --model-config')
    .option('--init-from <folder>', 'start from this model')
    .addOption(number('--steps <count>', 'optimiser steps', wholeNumber(1), 1000))
    .addOption(number('--tokens-per-step <count>', 'token rows a step', wholeNumber(2), 4096))
    .addOption(number('--learning-rate <rate>', 'peak', realNumber(0, 10), 1e-3))
    .addOption(
      new Option('--schedule <shape>', 'after the warm-up')
        .choices(['constant', 'linear', 'cosine', 'warmup-stable-decay'])
        .default('cosine'),
    )
    .addOption(number('--warmup-steps <count>', 'steps of linear warm-up', wholeNumber(0), 50))
    .addOption(number('--checkpoint-every <count>', 'steps between checkpoints', wholeNumber(1), 200))
    .addOption(number('--seed <number>', 'of weights and data', wholeNumber(0), 0))
    .option('--json', 'print the last metrics as JSON')
    .addOption(backendOption())
    .addOption(threadsOption())
    .action(async (options) => {
      const { trainSftCommand } = await import('./commands/train-sft.ts');
      await trainSftCommand(options);
    });

  program
    .command('eval')
    .description('greedy pass@1 with 95 % intervals on held-out reasoning tasks')
    .argument('[folder]', 'model folder; default: the embedded tiny reasoner')
    .addOption(
      new Option('--families <list>', `of ${familyNames.join(', ')}`)
        .argParser(familyList)
        .default(familyNames, 'all'),
    )
    .addOption(
      number('--count <count>', 'problems a family; a smaller split is taken whole', wholeNumber(1), 500),
    )
    .addOption(
      new Option('--split <name>', 'which problems').choices(['train', 'validation', 'test']).default('test'),
    )
    .addOption(number('--seed <number>', 'which of them', wholeNumber(0), 0))
    .addOption(number('--batch-size <count>', 'problems computed together', wholeNumber(1, 4096), 64))
    .addOption(new Option('--max-tokens <count>', 'thought and answer together').argParser(wholeNumber(1)))
    .option('--json', 'print the report as JSON')
    .addOption(backendOption())
    .addOption(threadsOption())
    .action(async (folder, options) => {
      const { evaluation } = await import('./commands/eval.ts');
      await evaluation(folder, options);
    });
  return program;
}

function number(flags: string, description: string, read: (text: string) => number, value: number): Option {
  return new Option(flags, description).argParser(read).default(value);
}

function familyList(text: string): FamilyName[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !familyNames.includes(name as FamilyName));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`expected of ${familyNames.join(', ')}, got ${unknown}.`);
  return names as FamilyName[];
}
