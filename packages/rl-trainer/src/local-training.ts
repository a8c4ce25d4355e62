/**
 * What learners of this process share: one model in training, with AdamW or Muon, balanced experts, and calls in a
 * queue.
 *
 * A mixture of experts stays even: the sequence-wise balance loss is added to each micro-batch's loss, and the
 * correction bias moves by the load of the whole step (DeepSeek-V3, arXiv 2412.19437, section 2.1.2). Calls run one
 * after the other in the order they were made, so that none needs to be awaited before the next. Parameters, moments
 * and step count are the state; gradients of an unfinished step are not saved.
 */
import { MinkeError, type Shape } from '@minke/core';
import { loadStatistics } from '@minke/moe-router';
import { AdamW, Arena, add, Muon, type Tensor } from '@minke/tensor';
import type { DeepSeekModel, HiddenResult, ModelBatch } from '@minke/transformer';
import type { OptimStepOptions, OptimStepResult } from './interfaces.ts';
import { loadModelState, saveModelState } from './learner-state.ts';

/** Settings of a learner in this process. */
export interface LocalLearnerOptions {
  /**
   * `muon` moves the matrices of layers by orthogonal updates of AdamW's size, and the rest by AdamW, at one learning
   * rate. Default `adamw`.
   */
  readonly optimizer?: 'adamw' | 'muon';
  /** Of Muon's matrices. Default 0.95. */
  readonly momentum?: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  /** On matrices only, embeddings apart, as the field does. */
  readonly weightDecay: number;
  /** Global gradient norm above which gradients are scaled down; 0 for never. */
  readonly maxGradNorm: number;
  /** Step of the correction bias; 0 leaves it. DeepSeek-V3: 0.001. With an adapter 0, as the bias is the base's. */
  readonly biasUpdateGamma: number;
  /** Weight of the sequence-wise balance loss; DeepSeek-V3: 1e-4. */
  readonly balanceAlpha: number;
}

/** For reinforcement learning: no weight decay. */
export const defaultLearner: LocalLearnerOptions = {
  beta1: 0.9,
  beta2: 0.999,
  eps: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
  biasUpdateGamma: 1e-3,
  balanceAlpha: 1e-4,
};

/** Losses of one micro-batch. */
export interface MicroBatchLosses {
  readonly loss: number;
  readonly balanceLoss: number;
}

export class LocalTraining {
  readonly model: DeepSeekModel;
  /** Of a step: gradients are recorded. */
  readonly arena: Arena;
  /** Without gradients. */
  readonly inference: Arena;
  readonly #options: LocalLearnerOptions;
  /** What is trained and saved, by name. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  #lazyOptimizer: AdamW | Muon | undefined;
  /** The end of the last call. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Choices per expert since the last step, one array a layer. */
  #loads: Float64Array[] = [];

  /** @param parameters what is trained and saved: the model's, and those of another head */
  constructor(
    model: DeepSeekModel,
    options: Partial<LocalLearnerOptions>,
    parameters: ReadonlyMap<string, Tensor> = model.trainable(),
  ) {
    this.model = model;
    const resting = model.lora === null ? {} : { biasUpdateGamma: 0 };
    this.#options = validated({ ...defaultLearner, ...resting, ...options }, model.lora !== null);
    this.parameters = parameters;
    this.arena = new Arena(model.backend, { grad: true, label: 'learner step' });
    this.inference = new Arena(model.backend, { label: 'learner forward' });
  }

  /** Runs a call after those before it, whether they failed or not. */
  inTurn<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(call);
    this.#turn = result.catch(() => {});
    return result;
  }

  /**
   * Adds the gradients of one micro-batch, with its share of the balance loss: its sequences over the step's.
   * Throws `invalid-argument`, and changes nothing, where the loss is no number.
   */
  async backward(
    loss: Tensor,
    { result, rows, share }: { result: HiddenResult; rows: ModelBatch; share: number },
  ): Promise<MicroBatchLosses> {
    const alpha = this.#options.balanceAlpha * share;
    const balanced = alpha > 0 && result.routings.length > 0;
    const balance = balanced ? this.model.balanceLoss(result, rows, { alpha }) : undefined;
    const total = balance === undefined ? loss : add(loss, balance);
    // Read before the backward pass: a call that fails must leave the gradients as they were.
    const value = (await loss.read())[0] as number;
    const balanceLoss = balance === undefined ? 0 : ((await balance.read())[0] as number);
    if (!Number.isFinite(value) || !Number.isFinite(balanceLoss))
      throw new MinkeError(
        'invalid-argument',
        `forwardBackward: the loss became ${Number.isFinite(value) ? balanceLoss : value}`,
      );
    total.backward();
    const loads = await loadsOf(result, rows);
    this.#loads = loads.map((load, i) =>
      Float64Array.from(load, (count, e) => count + (this.#loads[i]?.[e] ?? 0)),
    );
    return { loss: value, balanceLoss };
  }

  async optimStep({ learningRate, updateBiases = true }: OptimStepOptions): Promise<OptimStepResult> {
    const { arena } = this;
    const { biasUpdateGamma: gamma } = this.#options;
    try {
      const normSquared = this.#optimizer.step(arena, { lr: learningRate });
      this.#optimizer.zeroGrad(arena);
      const loads = this.#loads.map((load) => arena.tensor(load, [load.length]));
      if (gamma > 0 && updateBiases) this.model.updateBiases(loads, { gamma });
      const statistics = this.#loads.map(loadStatistics);
      this.#loads = [];
      const [norm] = await normSquared.read();
      return {
        step: this.#optimizer.stepCount,
        gradNorm: Math.sqrt(norm as number),
        metrics: {
          max_vio: Math.max(0, ...statistics.map(({ maxVio }) => maxVio)),
          dead_experts: statistics.reduce((n, { dead }) => n + dead, 0),
        },
      };
    } finally {
      arena.reset();
    }
  }

  /** Optimiser steps so far. */
  get stepCount(): number {
    return this.#lazyOptimizer?.stepCount ?? 0;
  }

  saveState(folder: string): Promise<void> {
    return saveModelState(folder, this.#state);
  }

  async loadState(folder: string): Promise<void> {
    await loadModelState(folder, this.#state);
    this.#optimizer.zeroGrad(this.arena);
    this.arena.reset();
    this.#loads = [];
  }

  /** Gives the step's memory back; the model stays. */
  dispose(): void {
    this.arena.dispose();
    this.inference.dispose();
  }

  get #state() {
    const { lora } = this.model;
    const options = lora === null ? this.#options : { ...this.#options, lora: lora.config };
    return { parameters: this.parameters, optimizer: this.#optimizer, options };
  }

  /** Made at the first update: a reference needs no moments. */
  get #optimizer(): AdamW | Muon {
    this.#lazyOptimizer ??= this.#newOptimizer();
    return this.#lazyOptimizer;
  }

  #newOptimizer(): AdamW | Muon {
    const { optimizer, momentum, beta1, beta2, eps, weightDecay, maxGradNorm } = this.#options;
    const trained = new Map([...this.parameters].filter(([, p]) => p.requiresGrad));
    const decay = (name: string, shape: Shape) => shape.length >= 2 && !name.includes('embed_tokens');
    const shared = { lr: 0, weightDecay, maxGradNorm };
    if (optimizer !== 'muon') return new AdamW(trained, { ...shared, beta1, beta2, eps, decay });
    const adamW = { beta1, beta2, eps, decay };
    const matrices = (name: string, { length }: Shape) =>
      length >= 2 && !/embed_tokens|lm_head|score\.weight/.test(name);
    return new Muon(trained, { ...shared, ...(momentum !== undefined && { momentum }), matrices, adamW });
  }
}

/** Choices per expert of each layer, [E]; a row that sequences share counts for each of them. */
async function loadsOf(
  { loads, routings }: HiddenResult,
  { shared }: ModelBatch,
): Promise<ArrayLike<number>[]> {
  if (shared === undefined) return Promise.all(loads.map((load) => load.read()));
  return Promise.all(
    routings.map(async ({ indices }, layer) => {
      const chosen = await indices.read();
      const topK = indices.shape[1] as number;
      const counts = new Float64Array((loads[layer] as Tensor).size);
      for (const row of shared.rowOf)
        for (let k = row * topK; k < (row + 1) * topK; k++) counts[chosen[k] as number]! += 1;
      return counts;
    }),
  );
}

function validated(options: LocalLearnerOptions, adapted: boolean): LocalLearnerOptions {
  const problems: string[] = [];
  if (adapted && options.biasUpdateGamma !== 0)
    problems.push(`biasUpdateGamma 0 beside an adapter, whose base rests, got ${options.biasUpdateGamma}`);
  for (const name of ['beta1', 'beta2'] as const)
    if (!(options[name] >= 0 && options[name] < 1)) problems.push(`${name} in [0, 1), got ${options[name]}`);
  const { optimizer = 'adamw', momentum } = options;
  if (!['adamw', 'muon'].includes(optimizer)) problems.push(`optimizer adamw or muon, got ${optimizer}`);
  if (momentum !== undefined && (optimizer !== 'muon' || !(momentum >= 0 && momentum < 1)))
    problems.push(`momentum in [0, 1) and beside muon, got ${momentum} beside ${optimizer}`);
  for (const name of ['eps', 'weightDecay', 'maxGradNorm', 'biasUpdateGamma', 'balanceAlpha'] as const)
    if (!(options[name] >= 0) || !Number.isFinite(options[name]))
      problems.push(`${name} a number of at least 0, got ${options[name]}`);
  if (problems.length > 0) throw new MinkeError('invalid-config', `learner: expected ${problems.join('; ')}`);
  return options;
}
