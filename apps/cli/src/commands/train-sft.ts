/** `minke train sft`: supervised fine-tuning, resumable; the result is a model folder in bf16. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Backend, MinkeError } from '@minke/core';
import {
  joinLanguageModel,
  type LanguageModel,
  loadLanguageModel,
  loadTextFormat,
  saveLanguageModel,
} from '@minke/inference';
import { type FamilyName, familyNames, TaskStream } from '@minke/reasoning-tasks';
import {
  conversationSource,
  defaultSft,
  defaultSftLearner,
  type ExampleSource,
  LocalLearner,
  type LocalLearnerOptions,
  readConversations,
  type Schedule,
  type SftConfig,
  TaskSource,
  trainSft,
} from '@minke/rl-trainer';
import { Arena } from '@minke/tensor';
import { DeepSeekModel, parseConfig } from '@minke/transformer';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  addBackendOptions,
  type BackendOptions,
  interruptSignal,
  nonNegativeInteger,
  nonNegativeNumber,
  openBackend,
  positiveInteger,
  printJson,
} from '../options.ts';

interface Options extends BackendOptions {
  readonly out: string;
  readonly modelConfig?: string;
  readonly tokenizer?: string;
  readonly initFrom?: string;
  readonly data?: string;
  readonly weights?: Partial<Record<FamilyName, number>>;
  readonly steps: number;
  readonly tokensPerStep: number;
  readonly learningRate: number;
  readonly schedule: Schedule['shape'];
  readonly warmup: number;
  readonly finalFraction: number;
  readonly weightDecay: number;
  readonly biasGamma: number;
  readonly biasUntil: number;
  readonly balanceAlpha: number;
  readonly checkpointEvery: number;
  readonly seed: number;
  readonly json?: boolean;
}

export function addTrainSft(train: Command): void {
  const d = defaultSft;
<<<<<<< /tmp/w/mf/m
  const optimizer = defaultSftLearner;
  const command = program
    .command('train')
    .description('train a model')
=======
  const command = train
>>>>>>> /tmp/w/mf/r
    .command('sft')
    .description('supervised fine-tuning on the reasoning tasks or on a file of conversations')
    .requiredOption(
      '--out <folder>',
      'run folder: checkpoints, metrics.jsonl, and the model at the end; a run in it is continued',
    )
    .option('--model-config <file>', 'config.json of a new model, with --tokenizer')
    .option('--tokenizer <folder>', 'folder with tokenizer.json of a new model')
    .option('--init-from <folder>', 'model folder to fine-tune, instead of a new model')
    .option('--data <file>', 'JSON lines with "messages"; default: the generated reasoning tasks')
    .option(
      '--weights <list>',
      'relative frequency of task families, for example products=1,chain_sum=2',
      familyWeights,
    )
    .option('--steps <n>', 'optimiser steps', positiveInteger, d.steps)
    .option('--tokens-per-step <n>', 'tokens of one step, at most', positiveInteger, d.tokensPerStep)
    .option('--learning-rate <rate>', 'peak learning rate', nonNegativeNumber, d.learningRate)
    .addOption(
      new Option('--schedule <shape>', 'shape after warm-up')
        .choices(['constant', 'linear', 'cosine', 'warmup-stable-decay'])
        .default(d.schedule.shape),
    )
    .option('--warmup <n>', 'steps of linear warm-up', nonNegativeInteger, d.schedule.warmupSteps)
    .option(
      '--final-fraction <f>',
      'rate at the end over the peak',
      nonNegativeNumber,
      d.schedule.finalFraction,
    )
    .option(
      '--weight-decay <w>',
      'decoupled weight decay of matrices',
      nonNegativeNumber,
      optimizer.weightDecay,
    )
    .option(
      '--bias-gamma <g>',
      "step of the experts' correction bias; 0 leaves it",
      nonNegativeNumber,
      optimizer.biasUpdateGamma,
    )
    .option(
      '--bias-until <f>',
      'share of the steps after which the bias rests',
      nonNegativeNumber,
      d.biasUpdateUntil,
    )
    .option(
      '--balance-alpha <a>',
      'weight of the sequence-wise balance loss',
      nonNegativeNumber,
      optimizer.balanceAlpha,
    )
    .option('--checkpoint-every <n>', 'steps between checkpoints', positiveInteger, d.checkpointEvery)
    .option('--seed <n>', 'seed of the weights and of the data', nonNegativeInteger, d.seed)
    .option('--json', 'print the last metrics as JSON');
  addBackendOptions(command).action(async (options: Options) => {
    const started = options.initFrom !== undefined;
    if (started === (options.modelConfig !== undefined) || started === (options.tokenizer !== undefined)) {
      command.error('error: train sft: expected either --init-from, or --model-config and --tokenizer');
    }
    const backend = await openBackend(options);
    const language = await startingModel(options, backend);
    const learner = new LocalLearner(language.model, learnerOptions(options));
    const metrics = await trainSft({
      learner,
      source: await sourceOf(options, language),
      config: sftConfig(options),
      folder: options.out,
      progress: true,
      signal: interruptSignal(),
    });
    await learner.dispose();
    const folder = join(options.out, 'model');
    await saveLanguageModel(language, folder, { dtype: 'bf16' });
    process.stderr.write(`model written to ${folder}\n`);
    if (options.json) printJson(metrics);
    backend.dispose();
  });
}

function familyWeights(text: string): Partial<Record<FamilyName, number>> {
  const entries = text.split(',').map((part) => part.split('='));
  for (const [name, weight, ...rest] of entries) {
    const known = familyNames.includes(name as FamilyName);
    if (!known || rest.length > 0 || !(Number(weight) > 0) || !Number.isFinite(Number(weight)))
      throw new InvalidArgumentError(`expected name=weight with names of ${familyNames.join(', ')}.`);
  }
  return Object.fromEntries(entries.map(([name, weight]) => [name, Number(weight)]));
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new MinkeError('invalid-file', `${path}: expected JSON, got ${(cause as Error).message}`, {
      cause,
    });
  }
}

function sftConfig(options: Options): SftConfig {
  const { steps, tokensPerStep, learningRate, checkpointEvery, seed } = options;
  return {
    ...defaultSft,
    steps,
    tokensPerStep,
    learningRate,
    schedule: {
      ...defaultSft.schedule,
      shape: options.schedule,
      warmupSteps: options.warmup,
      finalFraction: options.finalFraction,
    },
    biasUpdateUntil: options.biasUntil,
    checkpointEvery,
    seed,
  };
}

function learnerOptions({ weightDecay, biasGamma, balanceAlpha }: Options): LocalLearnerOptions {
  return { ...defaultSftLearner, weightDecay, biasUpdateGamma: biasGamma, balanceAlpha };
}

async function startingModel(options: Options, backend: Backend): Promise<LanguageModel> {
  if (options.initFrom !== undefined) return loadLanguageModel(options.initFrom, { backend });
  const config = parseConfig(readJson(options.modelConfig as string));
  const format = await loadTextFormat(options.tokenizer as string);
  const model = DeepSeekModel.init(config, {
    arena: new Arena(backend, { persistent: true, label: 'model' }),
    seed: options.seed,
  });
  return joinLanguageModel(model, format);
}

async function sourceOf(options: Options, { tokenizer, template }: LanguageModel): Promise<ExampleSource> {
  if (options.data === undefined)
    return new TaskSource(
      new TaskStream({ seed: options.seed, ...(options.weights && { weights: options.weights }) }),
      tokenizer,
      template,
    );
  return conversationSource(await readConversations(options.data), tokenizer, template, options.seed);
}
