/**
 * Supervised fine-tuning: next-token cross-entropy on completions.
 *
 * Each optimiser step takes whole examples up to a token budget, packed without padding; the loss is the sum
 * over supervised tokens divided by their number in the step. A V3-shaped model keeps its experts even during
 * training: the correction bias moves after each step by the load of the whole step, and the small
 * sequence-wise balance loss is added (DeepSeek-V3, arXiv 2412.19437, section 2.1.2).
 *
 * A run killed at any moment and started again continues from its last checkpoint to the same bytes.
 */
import { MinkeError } from '@minke/core';
import { loadStatistics } from '@minke/moe-router';
import { AdamW, Arena, add, affine, call, crossEntropy, sum, type Tensor, topK } from '@minke/tensor';
import type { DeepSeekModel } from '@minke/transformer';
import { packExamples } from './batch.ts';
import { type ExampleSource, Packer } from './example-source.ts';
import { MetricsLog } from './metrics-log.ts';
import { readState, writeState } from './model-state.ts';
import { ProgressLine } from './progress.ts';
import { RunStore } from './run-store.ts';
import { type Schedule, scheduleFactor } from './schedule.ts';

export interface SftConfig {
  /** Optimiser steps of the whole run. */
  readonly steps: number;
  /** Token rows of one optimiser step, at most. */
  readonly tokensPerStep: number;
  /** Peak learning rate. */
  readonly learningRate: number;
  readonly schedule: Schedule;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  /** On matrices only, as the field does. */
  readonly weightDecay: number;
  /** Global gradient norm above which gradients are scaled down. */
  readonly maxGradNorm: number;
  /** Step of the correction bias; 0 leaves it. DeepSeek-V3: 0.001. */
  readonly biasUpdateGamma: number;
  /** Share of the steps after which the bias rests. DeepSeek-V3 stops it for the last 3 %. */
  readonly biasUpdateUntil: number;
  /** Weight of the sequence-wise balance loss; DeepSeek-V3: 1e-4. */
  readonly balanceAlpha: number;
  /** Steps between checkpoints. */
  readonly checkpointEvery: number;
  readonly seed: number;
}

export const defaultSft: SftConfig = {
  steps: 1000,
  tokensPerStep: 4096,
  learningRate: 1e-3,
  schedule: { shape: 'cosine', warmupSteps: 50, finalFraction: 0.1, decayFraction: 0.2 },
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  maxGradNorm: 1,
  biasUpdateGamma: 1e-3,
  biasUpdateUntil: 0.97,
  balanceAlpha: 1e-4,
  checkpointEvery: 200,
  seed: 0,
};

/** One line of `metrics.jsonl`, the field's names. */
export interface SftMetrics {
  readonly global_step: number;
  readonly loss: number;
  readonly mean_token_accuracy: number;
  readonly balance_loss: number;
  readonly learning_rate: number;
  readonly grad_norm: number;
  readonly num_tokens: number;
  /** Largest over the MoE layers, of this step. */
  readonly max_vio: number;
  /** Experts without a token in this step, over all layers. */
  readonly dead_experts: number;
}

export interface SftOptions {
  readonly source: ExampleSource;
  readonly config: SftConfig;
  /** Folder for checkpoints and metrics; an earlier run in it is continued. */
  readonly folder: string;
  readonly onStep?: (metrics: SftMetrics) => void;
  /** Draw a progress line on stderr. */
  readonly progress?: boolean;
  /** Ends the run after the current step, with a checkpoint; rejects with `aborted`. */
  readonly signal?: AbortSignal;
}

/**
 * Trains `model` in place. Resolves with the last step's metrics; a complete run is only loaded.
 * Throws `invalid-config` when the folder's run had another configuration, `aborted` after the signal.
 *
 * @example
 * await trainSft(model, { source, config: { ...defaultSft, steps: 200 }, folder: 'runs/first' });
 */
export async function trainSft(model: DeepSeekModel, options: SftOptions): Promise<SftMetrics> {
  const { config, source, folder } = options;
  validate(config);
  const store = new RunStore(folder);
  const trained = new Map([...model.parameters()].filter(([, p]) => p.requiresGrad));
  const optimizer = new AdamW(trained, {
    lr: config.learningRate,
    beta1: config.beta1,
    beta2: config.beta2,
    eps: config.eps,
    weightDecay: config.weightDecay,
    maxGradNorm: config.maxGradNorm,
    decay: (name, shape) => shape.length >= 2 && !name.includes('embed_tokens'),
  });
  const start = await resume(store, model, optimizer, options);
  const log = new MetricsLog(store.metricsPath, start.metricsBytes);
  const packer = new Packer(source, config.tokensPerStep);
  const bar = options.progress ? new ProgressLine(config.steps, start.step) : undefined;
  using arena = new Arena(model.backend, { grad: true, label: 'sft step' });
  let { tokens } = start;
  let metrics: SftMetrics | undefined;
  const save = async (step: number) => {
    const state = { stage: 'sft', step, source: source.state(), metricsBytes: log.bytes, tokens, config };
    await store.save(state, await readState(model, optimizer));
  };
  try {
    for (let step = start.step; step < config.steps; step++) {
      // Signals and timers get their turn; a backend that computes at once never waits for anything.
      await new Promise<void>((resolve) => setImmediate(resolve));
      const batch = packExamples(packer.take());
      tokens += batch.rows;
      const rate = config.learningRate * scheduleFactor(config.schedule, step, config.steps);
      const gamma = step < config.biasUpdateUntil * config.steps ? config.biasUpdateGamma : 0;
      const result = trainStep(model, optimizer, arena, batch, {
        rate,
        gamma,
        balanceAlpha: config.balanceAlpha,
      });
      metrics = { global_step: step + 1, ...(await result.read()), learning_rate: rate, num_tokens: tokens };
      arena.reset();
      if (!Number.isFinite(metrics.loss)) {
        throw new MinkeError(
          'invalid-argument',
          `trainSft: the loss became ${metrics.loss} at step ${step + 1}; lower the learning rate and resume from the last checkpoint`,
        );
      }
      log.append({ ...metrics });
      options.onStep?.(metrics);
      bar?.update(
        step + 1,
        `loss ${metrics.loss.toFixed(4)}  accuracy ${metrics.mean_token_accuracy.toFixed(4)}`,
      );
      const last = step + 1 === config.steps || options.signal?.aborted === true;
      if (last || (step + 1) % config.checkpointEvery === 0) await save(step + 1);
      if (options.signal?.aborted)
        throw new MinkeError(
          'aborted',
          `trainSft: stopped after step ${step + 1}; start it again to continue`,
        );
    }
  } finally {
    log.close();
  }
  return metrics ?? (JSON.parse(log.lastLine()) as SftMetrics);
}

/** Forward, backward and update of one packed batch; figures are read back together. */
function trainStep(
  model: DeepSeekModel,
  optimizer: AdamW,
  arena: Arena,
  batch: ReturnType<typeof packExamples>,
  { rate, gamma, balanceAlpha }: { rate: number; gamma: number; balanceAlpha: number },
) {
  const count = batch.targets.length;
  const rows = model.batch(arena, batch.sequences);
  const targets = arena.tensor(batch.targets, [count], 'i32');
  const result = model.forward(rows, { outputs: arena.tensor(batch.supervisedRows, [count], 'i32') });
  const { logits, loads } = result;
  const loss = affine(sum(crossEntropy(logits, targets)), 1 / count, 0);
  const [reached] = call('gatherLast', [logits.detach(), targets.reshape([count, 1])], {});
  const best = topK(logits.detach(), 1).values;
  const balanced = balanceAlpha > 0 && loads.length > 0;
  const balance = balanced ? model.balanceLoss(result, rows, { alpha: balanceAlpha }) : undefined;
  const total = balance === undefined ? loss : add(loss, balance);
  total.backward();
  const normSquared = optimizer.step(arena, { lr: rate });
  optimizer.zeroGrad(arena);
  if (gamma > 0) model.updateBiases(loads, { gamma });
  return {
    async read() {
      const lossValue = await loss.read();
      const norm = await normSquared.read();
      const top = await best.read();
      const right = (await (reached as Tensor).read()).filter((logit, n) => logit === top[n]).length;
      const balanceValue = balance === undefined ? 0 : ((await balance.read())[0] as number);
      const statistics = (await Promise.all(loads.map((load) => load.read()))).map(loadStatistics);
      return {
        loss: lossValue[0] as number,
        mean_token_accuracy: right / count,
        balance_loss: balanceValue,
        grad_norm: Math.sqrt(norm[0] as number),
        max_vio: Math.max(0, ...statistics.map((s) => s.maxVio)),
        dead_experts: statistics.reduce((n, s) => n + s.dead, 0),
      };
    },
  };
}

async function resume(
  store: RunStore,
  model: DeepSeekModel,
  optimizer: AdamW,
  { config, source }: SftOptions,
) {
  const saved = await store.load();
  if (saved === undefined) return { step: 0, metricsBytes: 0, tokens: 0 };
  const { state, tensors } = saved;
  if (JSON.stringify(state.config) !== JSON.stringify(config)) {
    throw new MinkeError(
      'invalid-config',
      `trainSft: ${store.folder} holds a run with another configuration; use another folder, or the settings in its trainer.json`,
    );
  }
  writeState(`trainSft: ${store.folder}`, model, optimizer, { tensors, step: state.step });
  source.restore(state.source);
  return { step: state.step, metricsBytes: state.metricsBytes, tokens: state.tokens };
}

function validate(config: SftConfig): void {
  const problems: string[] = [];
  for (const name of ['steps', 'tokensPerStep', 'checkpointEvery'] as const) {
    if (!Number.isSafeInteger(config[name]) || config[name] < 1)
      problems.push(`${name} a positive integer, got ${config[name]}`);
  }
  for (const name of [
    'learningRate',
    'weightDecay',
    'maxGradNorm',
    'biasUpdateGamma',
    'balanceAlpha',
  ] as const) {
    if (!Number.isFinite(config[name]) || config[name] < 0)
      problems.push(`${name} a number of at least 0, got ${config[name]}`);
  }
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `trainSft: expected ${problems.join('; ')}`);
}
