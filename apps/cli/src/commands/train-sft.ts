/**
 * `minke train sft`: supervised fine-tuning from a configuration or from a model, on the generated tasks or on
 * a file of conversations. A run killed at any moment continues when the same command is given again.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Backend, MinkeError } from '@minke/core';
import {
  joinLanguageModel,
  type LanguageModel,
  loadLanguageModel,
  loadTextFormat,
  saveLanguageModel,
} from '@minke/inference';
import { TaskStream } from '@minke/reasoning-tasks';
import {
  defaultSft,
  type ExampleSource,
  encodeExample,
  type SftMetrics,
  ShuffledSource,
  TaskSource,
  trainSft,
} from '@minke/rl-trainer';
import { Arena } from '@minke/tensor';
import { DeepSeekModel, parseConfig } from '@minke/transformer';
import { UsageError } from '../failure.ts';
import { interruptible } from '../interrupt.ts';
import { type BackendOptions, openBackend } from '../options.ts';
import { readConversations } from './conversations.ts';

export interface TrainSftOptions extends BackendOptions {
  readonly out: string;
  readonly steps: number;
  readonly tokensPerStep: number;
  readonly learningRate: number;
  readonly schedule: 'constant' | 'linear' | 'cosine' | 'warmup-stable-decay';
  readonly warmupSteps: number;
  readonly checkpointEvery: number;
  readonly seed: number;
  readonly tasks?: 'mixture';
  readonly data?: string;
  readonly tokenizer?: string;
  readonly modelConfig?: string;
  readonly initFrom?: string;
  readonly json?: boolean;
}

export async function trainSftCommand(options: TrainSftOptions): Promise<void> {
  checkUsage(options);
  const started = performance.now();
  const backend = await openBackend(options);
  try {
    const language = await startingModel(options, backend);
    const source = await sourceOf(options, language);
    const { steps, tokensPerStep, learningRate, warmupSteps, checkpointEvery, seed } = options;
    const schedule = { ...defaultSft.schedule, shape: options.schedule, warmupSteps };
    const config = { ...defaultSft, steps, tokensPerStep, learningRate, schedule, checkpointEvery, seed };
    const metrics = await interruptible(
      (signal) => trainSft(language.model, { source, config, folder: options.out, progress: true, signal }),
      () => process.stderr.write('\nending after this step, with a checkpoint\n'),
    );
    const model = join(options.out, 'model');
    await saveLanguageModel(language, model, { dtype: 'bf16' });
    await writeReport(options, metrics, (performance.now() - started) / 1000);
    if (options.json) process.stdout.write(`${JSON.stringify({ model, ...metrics })}\n`);
    else process.stdout.write(`${model}: loss ${metrics.loss.toFixed(4)} after ${steps} steps\n`);
  } finally {
    backend.dispose();
  }
}

function checkUsage({ tasks, data, modelConfig, initFrom, tokenizer }: TrainSftOptions): void {
  if ((tasks === undefined) === (data === undefined))
    throw new UsageError('train sft: expected one of --tasks mixture and --data <file>');
  if ((modelConfig === undefined) === (initFrom === undefined))
    throw new UsageError('train sft: expected one of --model-config <file> and --init-from <folder>');
  if (modelConfig !== undefined && tokenizer === undefined)
    throw new UsageError('train sft: expected --tokenizer <folder> with --model-config');
}

async function startingModel(options: TrainSftOptions, backend: Backend): Promise<LanguageModel> {
  const { initFrom, modelConfig, tokenizer, seed } = options;
  if (initFrom !== undefined) {
    const language = await loadLanguageModel(initFrom, { backend });
    return tokenizer === undefined
      ? language
      : joinLanguageModel(language.model, await loadTextFormat(tokenizer));
  }
  const config = parseConfig(await readJson(modelConfig as string));
  const format = await loadTextFormat(tokenizer as string);
  const arena = new Arena(backend, { persistent: true, label: 'model' });
  return joinLanguageModel(DeepSeekModel.init(config, { arena, seed }), format);
}

async function sourceOf(options: TrainSftOptions, language: LanguageModel): Promise<ExampleSource> {
  const { tokenizer, template } = language;
  const { data, seed } = options;
  if (data === undefined) return new TaskSource(new TaskStream({ seed }), tokenizer, template);
  const conversations = await readConversations(data);
  const examples = conversations.map((exchange) => encodeExample(tokenizer, template, exchange));
  return new ShuffledSource(examples, seed);
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new MinkeError('invalid-file', `${path}: expected JSON, but ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** `report.json`: what the run gave, and how to have it again. */
async function writeReport(options: TrainSftOptions, metrics: SftMetrics, seconds: number): Promise<void> {
  const { out, seed } = options;
  const stage = (metric: 'loss' | 'mean_token_accuracy') => ({
    stage: 'sft',
    metric,
    value: metrics[metric],
    low: null,
    high: null,
    n: metrics.num_tokens,
    seeds: [seed],
  });
  const data =
    options.data &&
    createHash('sha256')
      .update(await readFile(options.data))
      .digest('hex');
  const report = {
    stages: [stage('loss'), stage('mean_token_accuracy')],
    command: ['minke', ...process.argv.slice(2)].join(' '),
    ...(data && { dataSha256: data }),
    commit: commit(),
    seed,
    seconds,
  };
  await writeFile(join(out, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
}

/** The commit of the folder the command runs in, null outside of a repository. */
function commit(): string | null {
  try {
    return execFileSync('git', ['rev-parse', 'HEAD'], { stdio: ['ignore', 'pipe', 'ignore'] })
      .toString()
      .trim();
  } catch {
    return null;
  }
}
