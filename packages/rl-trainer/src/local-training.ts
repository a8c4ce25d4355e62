/**
 * What learners of this process share: one model in training, with AdamW or Muon, balanced experts, and calls in a
 * queue.
 *
 * A mixture of experts stays even: the sequence-wise balance loss is added to each micro-batch's loss, and the
 * correction bias moves by the load of the whole step (DeepSeek-V3, arXiv 2412.19437, section 2.1.2). How much a model
 * merges is steered by the ratio loss (compression.ts). Calls run one after the other in the order they were made, so
 * that none needs to be awaited before the next. Parameters, moments and step count are the state; gradients of an
 * unfinished step are not saved.
 */
import { MinkeError, type Shape } from '@minke/core';
import { loadStatistics } from '@minke/moe-router';
import { AdamW, Arena, add, affine, Muon, type Tensor } from '@minke/tensor';
import {
  type DeepSeekModel,
  type HiddenResult,
  type IndexerStage,
  isMerging,
  type MergingHidden,
  type ModelBatch,
  plainModel,
  type TransformerModel,
} from '@minke/transformer';
import {
  type Compression,
  CompressionControl,
  compressionProblems,
  defaultCompression,
} from './compression.ts';
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
  /** On matrices only, embeddings and filters of a convolution apart, as the field does. */
  readonly weightDecay: number;
  /** Global gradient norm above which gradients are scaled down; 0 for never. */
  readonly maxGradNorm: number;
  /** Step of the correction bias; 0 leaves it. DeepSeek-V3: 0.001. With an adapter 0, as the bias is the base's. */
  readonly biasUpdateGamma: number;
  /** Weight of the sequence-wise balance loss; DeepSeek-V3: 1e-4. */
  readonly balanceAlpha: number;
  /** How much a merging model is to merge; for such a model only. Default `defaultCompression`. */
  readonly compression?: Compression;
  /** How the indexers of a model with sparse attention learn; for such a model only. Default: they stay as they are. */
  readonly indexer?: IndexerTraining;
}

/**
 * Training of indexers (DeepSeek-V3.2, section 2.1): their loss is the divergence from what attention looks at, and its
 * gradient goes to them alone. Plain data. A learner reports `indexer_loss`, the mean over layers, without its weight.
 */
export interface IndexerTraining {
  /** Of the mean over layers, above 0. */
  readonly weight: number;
  /** Optimiser steps of dense attention at first, in which indexers learn from all tokens. */
  readonly warmupSteps: number;
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
  /** Of a merging model: the ratio loss's share and what was merged; names as in `Compression`. */
  readonly compression: Readonly<Record<string, number>>;
  /** This share of the indexers' loss, where they learn. */
  readonly indexerLoss?: number;
}

/** What a pass left that losses beside the main one need. */
export interface PassResult {
  readonly result: HiddenResult | MergingHidden;
  readonly rows: ModelBatch;
  /** The micro-batch's sequences over the step's. */
  readonly share: number;
}

export class LocalTraining<M extends TransformerModel = DeepSeekModel> {
  readonly model: M;
  /** Of a step: gradients are recorded. */
  readonly arena: Arena;
  /** Without gradients. */
  readonly inference: Arena;
  readonly #options: LocalLearnerOptions;
  readonly #compression: CompressionControl | null;
  /** What is trained and saved, by name. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  #lazyOptimizer: AdamW | Muon | undefined;
  /** The end of the last call. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Choices per expert since the last step, one array a layer. */
  #loads: Float64Array[] = [];

  /** @param parameters what is trained and saved: the model's, and those of another head */
  constructor(
    model: M,
    options: Partial<LocalLearnerOptions>,
    parameters: ReadonlyMap<string, Tensor> = model.trainable(),
  ) {
    this.model = model;
    const merges = isMerging(model);
    const adapted = loraOf(model) !== null;
    const own = {
      ...defaultLearner,
      ...(adapted && { biasUpdateGamma: 0 }),
      ...(merges && { compression: defaultCompression }),
      ...options,
    };
    const indexes = plainModel(model).config.indexer !== undefined;
    this.#options = validated(own, { adapted, merges, indexes });
    this.#compression = own.compression ? new CompressionControl(own.compression) : null;
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
   * Adds the gradients of one micro-batch, with its share of the balance loss and of the ratio loss. Throws
   * `invalid-argument`, and changes nothing, where the loss is no number.
   */
  async backward(loss: Tensor, { result, rows, share }: PassResult): Promise<MicroBatchLosses> {
    const alpha = this.#options.balanceAlpha * share;
    const balance =
      alpha > 0 && result.routings.length > 0 ? this.#balanceLoss(result, rows, alpha) : undefined;
    const ratio = 'plan' in result ? this.#compression?.loss(result.plan, this.stepCount, share) : undefined;
    const indexer = this.#indexerLoss(result, share);
    const weight = this.#options.indexer?.weight ?? 0;
    const total = [balance, ratio?.weighted, indexer && affine(indexer, weight, 0)].reduce<Tensor>(
      (a, b) => (b === undefined ? a : add(a, b)),
      loss,
    );
    // Read before the backward pass: a call that fails must leave the gradients as they were.
    const value = (await loss.read())[0] as number;
    const balanceLoss = balance === undefined ? 0 : ((await balance.read())[0] as number);
    const compression = (await ratio?.figures()) ?? {};
    const indexerLoss = indexer && ((await indexer.read())[0] as number);
    const bad = [value, balanceLoss, indexerLoss ?? 0, ...Object.values(compression)].find(
      (x) => !Number.isFinite(x),
    );
    if (bad !== undefined)
      throw new MinkeError('invalid-argument', `forwardBackward: the loss became ${bad}`);
    total.backward();
    const loads = await loadsOf(result, rows);
    this.#loads = loads.map((load, i) =>
      Float64Array.from(load, (count, e) => count + (this.#loads[i]?.[e] ?? 0)),
    );
    return { loss: value, balanceLoss, compression, ...(indexerLoss !== undefined && { indexerLoss }) };
  }

  /** What the pass of a step is to compute for the indexers, where they learn. */
  get indexerStage(): IndexerStage | undefined {
    const { indexer } = this.#options;
    if (indexer === undefined) return undefined;
    return this.stepCount < indexer.warmupSteps ? 'warm-up' : 'sparse';
  }

  /** The mean over layers, times the micro-batch's share. */
  #indexerLoss({ indexerLosses }: HiddenResult, share: number): Tensor | undefined {
    if (indexerLosses.length === 0) return undefined;
    return affine(
      indexerLosses.reduce((a, b) => add(a, b)),
      share / indexerLosses.length,
      0,
    );
  }

  #balanceLoss(result: HiddenResult | MergingHidden, rows: ModelBatch, alpha: number): Tensor {
    const model: TransformerModel = this.model;
    return isMerging(model)
      ? model.balanceLoss(result as MergingHidden, rows, { alpha })
      : model.balanceLoss(result, rows, { alpha });
  }

  async optimStep({ learningRate, updateBiases = true }: OptimStepOptions): Promise<OptimStepResult> {
    const { arena } = this;
    const { biasUpdateGamma: gamma } = this.#options;
    try {
      const aim = this.#compression?.aim(this.stepCount);
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
          ...(aim !== undefined && { compression_aim: aim }),
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
    const lora = loraOf(this.model);
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
    // Neither tables nor filters: decay would pull a convolution towards no mixing.
    const decay = (name: string, { length }: Shape) =>
      length >= 2 && !/embed_tokens|\.convolution\./.test(name);
    const shared = { lr: 0, weightDecay, maxGradNorm };
    const { routerRate = 1 } = this.#options.compression ?? {};
    const rate = (name: string) => (routerWeights.test(name) ? routerRate : 1);
    const adamW = { beta1, beta2, eps, decay, rate };
    if (optimizer !== 'muon') return new AdamW(trained, { ...shared, ...adamW });
    const matrices = (name: string, { length }: Shape) =>
      length >= 2 && !/embed_tokens|lm_head|score\.weight|^merging\./.test(name);
    return new Muon(trained, { ...shared, ...(momentum !== undefined && { momentum }), matrices, adamW });
  }
}

/** What decides about boundaries, by name. */
const routerWeights = /^merging\.merger\.(query\.weight|key\.weight|run_bias|sharpness)$/;

/** The adapter that is trained, or null. */
function loraOf(model: TransformerModel) {
  return plainModel(model).lora;
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

/** What a learner's settings must fit: whether the model has an adapter, merges tokens, has indexers. */
interface ModelKind {
  readonly adapted: boolean;
  readonly merges: boolean;
  readonly indexes: boolean;
}

function validated(
  options: LocalLearnerOptions,
  { adapted, merges, indexes }: ModelKind,
): LocalLearnerOptions {
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
  if (options.compression !== undefined && !merges)
    problems.push('compression beside a model that merges, got one beside a model that does not');
  else if (options.compression !== undefined) problems.push(...compressionProblems(options.compression));
  if (options.indexer !== undefined) problems.push(...indexerProblems(options.indexer, indexes && !adapted));
  if (problems.length > 0) throw new MinkeError('invalid-config', `learner: expected ${problems.join('; ')}`);
  return options;
}

function indexerProblems({ weight, warmupSteps }: IndexerTraining, learns: boolean): string[] {
  return [
    ...(learns ? [] : ['indexer beside a model with indexers that are trained, got one beside another']),
    ...(weight > 0 && Number.isFinite(weight) ? [] : [`indexer.weight a number above 0, got ${weight}`]),
    ...(Number.isSafeInteger(warmupSteps) && warmupSteps >= 0
      ? []
      : [`indexer.warmupSteps a whole number of at least 0, got ${warmupSteps}`]),
  ];
}
