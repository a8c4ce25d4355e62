/** `minke train sft`: supervised fine-tuning, resumable; the result is a model folder in bf16, or an adapter. */
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
import { type FamilyName, type LevelWeights, TaskStream } from '@minke/reasoning-tasks';
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
  type ThoughtMixture,
  trainSft,
  validateThoughts,
} from '@minke/rl-trainer';
import { Arena } from '@minke/tensor';
import { DeepSeekModel, parseConfig, saveLora } from '@minke/transformer';
import { type Command, Option } from 'commander';
import { addLoraOptions, type LoraOptions, loraConfig, withAdapter } from '../lora-options.ts';
import {
  addBackendOptions,
  announce,
  type BackendOptions,
  interruptSignal,
  nonNegativeInteger,
  nonNegativeNumber,
  openBackend,
  positiveInteger,
  printJson,
} from '../options.ts';
import {
  familyWeights,
  frequencies,
  levelWeights,
  share,
  thoughtLanguages,
  thoughtLengths,
} from '../task-options.ts';

interface Options extends BackendOptions, LoraOptions {
  readonly out: string;
  readonly modelConfig?: string;
  readonly tokenizer?: string;
  readonly initFrom?: string;
  readonly data?: string;
  readonly weights?: Partial<Record<FamilyName, number>>;
  readonly levels?: LevelWeights;
  readonly spanish?: number;
  readonly verify?: number;
  readonly wrongTries?: readonly number[];
  readonly giveUp?: number;
  readonly thoughtLength?: ThoughtMixture['length'];
  readonly thoughtLanguage?: ThoughtMixture['language'];
  readonly steps: number;
  readonly tokensPerStep: number;
  readonly learningRate: number;
  readonly schedule: Schedule['shape'];
  readonly warmup: number;
  readonly finalFraction: number;
  readonly optimizer: 'adamw' | 'muon';
  readonly weightDecay: number;
  readonly biasGamma?: number;
  readonly biasUntil: number;
  readonly balanceAlpha: number;
  readonly checkpointEvery: number;
  readonly seed: number;
  readonly json?: boolean;
}

export function addTrainSft(train: Command): void {
  const d = defaultSft;
  const optimizer = defaultSftLearner;
  const command = train
    .command('sft')
    .description('supervised fine-tuning on the reasoning tasks or on a file of conversations')
    .requiredOption(
      '--out <folder>',
      'run folder: checkpoints, metrics.jsonl, and the model at the end; a run in it is continued',
    )
    .option('--model-config <file>', 'config.json of a new model, with --tokenizer')
    .option('--tokenizer <folder>', 'folder with tokenizer.json of a new model')
    .option('--init-from <folder>', 'model folder to fine-tune, instead of a new model')
    .option('--data <file>', 'JSON lines or .parquet with "messages"; default: the generated reasoning tasks')
    .option(
      '--weights <list>',
      'relative frequency of task families, for example products=1,gcd=2; default: the five core families',
      familyWeights,
    )
    .option('--levels <list>', 'relative frequency of levels; default: 1=0.1,2=0.2,3=0.7', levelWeights)
    .option('--spanish <share>', 'share of questions in Spanish; default: none', share)
    .option('--verify <share>', 'share of thoughts that check their result; default: none', share)
    .option(
      '--wrong-tries <list>',
      'relative frequency of 0, 1, 2, ... wrong tries in a thought, for example 0.7,0.2,0.1',
      frequencies,
    )
    .option('--give-up <share>', 'of thoughts with wrong tries, share that ends without an answer', share)
    .option(
      '--thought-length <list>',
      'relative frequency of default, long, short, none, for example default=3,none=1',
      thoughtLengths,
    )
    .option(
      '--thought-language <list>',
      'relative frequency of question, en, es, mixed, for example question=9,mixed=1',
      thoughtLanguages,
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
    .addOption(
      new Option('--optimizer <name>', 'muon moves matrices of layers by orthogonal updates')
        .choices(['adamw', 'muon'])
        .default('adamw'),
    )
    .option(
      '--weight-decay <w>',
      'decoupled weight decay of matrices',
      nonNegativeNumber,
      optimizer.weightDecay,
    )
    .option(
      '--bias-gamma <g>',
      `step of the experts' correction bias; 0 leaves it; default: ${optimizer.biasUpdateGamma}, with an adapter 0`,
      nonNegativeNumber,
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
  addBackendOptions(addLoraOptions(command)).action(async (options: Options) => {
    const started = options.initFrom !== undefined;
    if (started === (options.modelConfig !== undefined) || started === (options.tokenizer !== undefined)) {
      command.error('error: train sft: expected either --init-from, or --model-config and --tokenizer');
    }
    const given = taskOptions.filter((name) => options[name] !== undefined);
    if (options.data !== undefined && given.length > 0)
      command.error(
        `error: train sft: expected --data alone, got also ${given.map(flagOf).join(', ')}; they shape generated tasks`,
      );
    const lora = loraConfig(command, options);
    if (lora !== undefined && !started)
      command.error(
        'error: train sft: expected --init-from beside --lora-r; an adapter needs a trained base',
      );
    const thoughts = thoughtMixture(options);
    if (thoughts !== undefined) validateThoughts(thoughts);
    const backend = await openBackend(options);
    const language = await startingModel(options, backend);
    const model = withAdapter(language.model, lora, options.seed);
    const learner = new LocalLearner(model, learnerOptions(options));
    const source = await sourceOf(options, thoughts, language);
    announce(backend);
    const metrics = await trainSft({
      learner,
      source,
      config: sftConfig(options),
      folder: options.out,
      progress: true,
      signal: interruptSignal(),
    });
    await learner.dispose();
    const folder = join(options.out, lora === undefined ? 'model' : 'adapter');
    if (lora === undefined) await saveLanguageModel(language, folder, { dtype: 'bf16' });
    else await saveLora(model, folder, { base: options.initFrom ?? null });
    process.stderr.write(`${lora === undefined ? 'model' : 'adapter'} written to ${folder}\n`);
    if (options.json) printJson(metrics);
    backend.dispose();
  });
}

/** What only generated tasks have. */
const taskOptions = [
  'weights',
  'levels',
  'spanish',
  'verify',
  'wrongTries',
  'giveUp',
  'thoughtLength',
  'thoughtLanguage',
] as const;

const flagOf = (name: string): string =>
  `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** The kinds of thoughts asked for, or undefined where none were. */
function thoughtMixture(options: Options): ThoughtMixture | undefined {
  const { verify, wrongTries, giveUp, thoughtLength: length, thoughtLanguage: language } = options;
  const given = Object.entries({ verify, wrongTries, giveUp, length, language }).filter(
    ([, value]) => value !== undefined,
  );
  return given.length === 0 ? undefined : Object.fromEntries(given);
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

function learnerOptions(options: Options): LocalLearnerOptions {
  const { optimizer, weightDecay, biasGamma, balanceAlpha, loraR } = options;
  const resting = loraR === undefined ? defaultSftLearner.biasUpdateGamma : 0;
  return {
    ...defaultSftLearner,
    ...(optimizer === 'muon' && { optimizer }),
    weightDecay,
    biasUpdateGamma: biasGamma ?? resting,
    balanceAlpha,
  };
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

async function sourceOf(
  options: Options,
  thoughts: ThoughtMixture | undefined,
  { tokenizer, template }: LanguageModel,
): Promise<ExampleSource> {
  const { seed, weights, levels, spanish } = options;
  if (options.data === undefined)
    return new TaskSource(
      new TaskStream({
        seed,
        ...(weights && { weights }),
        ...(levels && { levels }),
        ...(spanish !== undefined && { spanish }),
      }),
      tokenizer,
      template,
      thoughts,
    );
  return conversationSource(await readConversations(options.data), tokenizer, template, options.seed);
}
