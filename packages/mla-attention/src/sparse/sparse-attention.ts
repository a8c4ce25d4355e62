/**
 * DeepSeek sparse attention (V3.2): latent attention restricted to the tokens that a lightning indexer selects.
 *
 * While gradients are recorded the selection is a mask over all pairs; else each query gathers its selected latents in
 * the absorbed form, and only those are read. A query with no more than `topK` tokens before it attends to all of
 * them, as dense latent attention does. The selection carries no gradient; `indexerLoss` is there where a stage asks.
 */
import { check } from '@minke/core';
import {
  type Arena,
  add,
  affine,
  call,
  concat,
  type LowRank,
  type Module,
  matmul,
  permute,
  softmax,
  type Tensor,
} from '@minke/tensor';
import { headsFirst, latentAttention } from '../attention.ts';
import type { AttentionBatch } from '../batch.ts';
import { gatheredAttention } from '../gathered-attention.ts';
import { LatentProjections } from '../latent-projections.ts';
import { attentionInput, checkParameters, type InitOptions, initArena, initParameters } from '../layer.ts';
import { type MlaConfig, mlaParameterShapes, mlaRope, validateMla } from '../mla-config.ts';
import { RopeTable } from '../rope.ts';
import { attentionScale } from '../yarn.ts';
import { attentionTarget, indexerLoss } from './indexer-loss.ts';
import {
  type IndexerConfig,
  indexerParameterShapes,
  LightningIndexer,
  validateIndexer,
} from './lightning-indexer.ts';
import { selectionMask } from './selection-mask.ts';
import type { SparseCache } from './sparse-cache.ts';

export interface SparseMlaConfig extends MlaConfig {
  readonly indexer: Pick<IndexerConfig, 'heads' | 'headDim' | 'topK'>;
}

/** `warm-up`: dense attention, loss over all tokens. `sparse`: selected tokens, loss over those. */
export type IndexerStage = 'warm-up' | 'sparse';

export interface SparseAttentionOptions {
  /** Positions and ranges of the tokens. Default: each row of x is one sequence. */
  readonly batch?: AttentionBatch;
  /** Past tokens; the batch must come from its `append`. */
  readonly cache?: SparseCache;
  /** Layer of the cache. Default 0. */
  readonly layer?: number;
  /** Also returns the indexer's loss. */
  readonly stage?: IndexerStage;
}

function indexerConfig(config: SparseMlaConfig): IndexerConfig {
  const { hiddenSize, qLoraRank, qkRopeHeadDim: ropeDim, indexer } = config;
  return { ...indexer, hiddenSize, ropeDim, queryWidth: qLoraRank ?? hiddenSize };
}

/** Names and shapes of the parameters, as in Hugging Face checkpoints below `self_attn.`. */
export function sparseParameterShapes(config: SparseMlaConfig): Map<string, readonly number[]> {
  const shapes = mlaParameterShapes(config);
  for (const [name, shape] of indexerParameterShapes(indexerConfig(config)))
    shapes.set(`indexer.${name}`, shape);
  return shapes;
}

/**
 * @example
 * const attention = SparseLatentAttention.init({ ...mlaConfig, indexer: { heads: 16, headDim: 64, topK: 2048 } },
 *   { backend, seed: 0 });
 * const { output, loss } = attention.forward(x, { stage: 'warm-up' });
 */
export class SparseLatentAttention implements Module {
  readonly config: SparseMlaConfig;
  readonly indexer: LightningIndexer;
  /** What scores are multiplied by before the softmax. */
  readonly scale: number;
  readonly #parameters: Map<string, Tensor>;
  readonly #projections: LatentProjections;

  /**
   * @param rope tables of latent attention
   * @param indexerRope tables of the indexer, half-split
   * @param additions low-rank additions to projections by their names (`q_b_proj`)
   */
  constructor(
    config: SparseMlaConfig,
    parameters: ReadonlyMap<string, Tensor>,
    rope: RopeTable,
    indexerRope: RopeTable,
    additions: ReadonlyMap<string, LowRank> = new Map(),
  ) {
    this.config = config;
    validateMla(config);
    checkParameters('sparseAttention', sparseParameterShapes(config), parameters);
    this.#parameters = new Map(parameters);
    this.#projections = new LatentProjections(config, this.#parameters, rope, additions);
    const prefix = 'indexer.';
    const own = [...parameters].filter(([name]) => name.startsWith(prefix));
    this.indexer = new LightningIndexer(
      indexerConfig(config),
      new Map(own.map(([name, p]) => [name.slice(prefix.length), p])),
      indexerRope,
    );
    this.scale =
      config.softmaxScale ?? attentionScale(config.qkNopeHeadDim + config.qkRopeHeadDim, config.yarn ?? null);
  }

  /** A fresh layer. Throws `invalid-config`. */
  static init(config: SparseMlaConfig, options: InitOptions): SparseLatentAttention {
    validateMla(config);
    validateIndexer(indexerConfig(config));
    const arena = initArena(options);
    const parameters = initParameters(arena, sparseParameterShapes(config), options);
    parameters.get('indexer.k_norm.bias')!.write(new Float32Array(config.indexer.headDim));
    return new SparseLatentAttention(
      config,
      parameters,
      mlaRope(config, arena),
      sparseIndexerRope(config, arena),
    );
  }

  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /**
   * @param x [N, D] or [B, T, D] in a transient arena
   * @returns output in the shape of x, and where a stage is given the indexer's loss
   */
  forward(x: Tensor, options: SparseAttentionOptions = {}): { output: Tensor; loss: Tensor | null } {
    const { hiddenSize: D } = this.config;
    const { cache, layer = 0, stage } = options;
    const { rows, batch } = attentionInput('sparseAttention', x, D, options);
    check(
      cache === undefined || stage === undefined,
      () => `sparseAttention: expected no stage beside a cache, got ${stage}; train without one`,
    );
    const projections = this.#projections;
    const queryLatent = projections.queryLatent(rows);
    const q = projections.queries(queryLatent, batch.positions);
    const { latent, ropeKey } = projections.latents(rows, batch.positions);
    const [own, ownQuery] = [rows.detach(), queryLatent.detach()];
    const index = {
      q: this.indexer.queries(ownQuery, batch.positions),
      weights: this.indexer.weights(own),
      keys: this.indexer.keys(own, batch.positions),
    };
    const keys = concat([latent, ropeKey], 1);
    let [o, loss]: [Tensor, Tensor | null] = [x, null];
    if (cache !== undefined) {
      cache.write(layer, keys, index.keys, batch.cached!.rows);
      o = this.#gathered(q, index, cache.latents(layer), cache.indexKeys(layer), batch, cache.maxTokens);
    } else if (x.arena.recordsGradients || stage !== undefined || !canGather(x)) {
      [o, loss] = this.#masked(q, latent, ropeKey, index, batch, stage);
    } else o = this.#gathered(q, index, keys, index.keys, batch, null);
    return { output: projections.output(o).reshape(x.shape), loss };
  }

  /** All pairs, with a mask. */
  #masked(
    q: Tensor,
    latent: Tensor,
    ropeKey: Tensor,
    index: IndexTensors,
    batch: AttentionBatch,
    stage: IndexerStage | undefined,
  ): [Tensor, Tensor | null] {
    const { k, v } = this.#projections.expand(latent, ropeKey);
    const size = k.shape[0] as number;
    const visible = call('rangeMask', [batch.ranges], { size })[0] as Tensor;
    const scores = this.indexer.scores(index.q, index.weights, index.keys);
    const selected = stage === 'warm-up' ? visible : selectionMask(scores, visible, this.config.indexer.topK);
    const heads = this.config.numHeads;
    const dots = matmul(permute(q, [1, 0, 2]), headsFirst(k, heads, q), { transB: true });
    const p = softmax(add(affine(dots, this.scale, 0), selected));
    const o = permute(matmul(p, headsFirst(v, heads, q)), [1, 0, 2]);
    if (stage === undefined) return [o, null];
    return [o, indexerLoss(scores, attentionTarget(p), selected)];
  }

  /** Each query's selected latents, in the absorbed form; `maxTokens` rows a sequence in a cache, else null. */
  #gathered(
    q: Tensor,
    index: IndexTensors,
    latents: Tensor,
    indexKeys: Tensor,
    batch: AttentionBatch,
    maxTokens: number | null,
  ): Tensor {
    const { arena } = q;
    const { numHeads, kvLoraRank: valueWidth } = this.config;
    const { topK: most } = this.config.indexer;
    const options = { scale: this.scale, valueWidth };
    const [table, keys] = [arena.adopt(latents), arena.adopt(indexKeys)];
    const ranges = batch.cached?.ranges ?? batch.ranges;
    check(
      batch.segments !== undefined && batch.shared === undefined,
      () => 'sparseAttention: expected a batch of whole or cached sequences, got one that shares rows',
    );
    return this.#projections.absorbed(q, (query) => {
      const outputs: Tensor[] = [arena.zeros([0, numHeads, valueWidth])];
      for (const { start, count, context, sequence } of batch.segments!) {
        const region = maxTokens === null ? start : sequence * maxTokens;
        // Tokens with at most `topK` before them see all; those come first.
        const dense = Math.min(count, Math.max(0, most - context));
        if (dense > 0) {
          const own = [query.rows(start, start + dense), ranges.rows(start, start + dense)] as const;
          outputs.push(latentAttention(own[0], table, own[1], options));
        }
        for (let i = dense; i < count; i += queryBlock) {
          const [a, b] = [start + i, start + Math.min(count, i + queryBlock)];
          const end = region + context + b - start;
          const ends = Array.from({ length: b - a }, (_, row) => [0, context + i + row + 1]);
          const visible = arena.tensor(ends.flat(), [b - a, 2], 'i32');
          const { q: iq, weights } = index;
          const rows = keys.rows(region, end);
          const indices = this.indexer.select(iq.rows(a, b), weights.rows(a, b), rows, visible);
          outputs.push(gatheredAttention(query.rows(a, b), table.rows(region, end), indices, options));
        }
      }
      return outputs.length === 2 ? (outputs[1] as Tensor) : concat(outputs, 0);
    });
  }
}

/** Queries whose scores are in memory together. */
const queryBlock = 128;

interface IndexTensors {
  readonly q: Tensor;
  readonly weights: Tensor;
  readonly keys: Tensor;
}

const canGather = (x: Tensor): boolean => x.arena.backend.supports('gatheredAttention');

/** The rotary tables of the indexer: as latent attention's, in the half-split layout. */
export function sparseIndexerRope(config: MlaConfig, arena: Arena): RopeTable {
  const { qkRopeHeadDim: width, ropeTheta: theta = 10000, yarn = null } = config;
  return RopeTable.create(arena, { width, theta, layout: 'half', yarn }, config.maxPositions ?? 4096);
}
