/**
 * The lightning indexer of DeepSeek sparse attention: a small head that says which past tokens a query attends to.
 *
 * Source: DeepSeek-V3.2, section 2: I[t, s] = sum over h of w[t, h] ReLU(q[t, h] . k[s]), queries from the query
 * latent, one key head with a LayerNorm, the first entries of each head rotated in the half-split layout (latent
 * attention itself is interleaved). The released kernels' Hadamard transform leaves products as they are, and their
 * FP8 rounds them; neither is here. Its inputs are detached: it learns from its own loss only (indexer-loss.ts).
 */
import { check, MinkeError } from '@minke/core';
import {
  add,
  affine,
  call,
  linear,
  type Module,
  matmul,
  mean,
  mul,
  relu,
  rsqrt,
  square,
  sub,
  type Tensor,
} from '@minke/tensor';
import { checkParameters } from '../layer.ts';
import type { RopeTable } from '../rope.ts';
import { selectLargest } from './selection-mask.ts';

export interface IndexerConfig {
  /** Model width D. */
  readonly hiddenSize: number;
  /** Width of the query latent, or D where queries have none. */
  readonly queryWidth: number;
  /** Indexer heads; V3.2 has 64. */
  readonly heads: number;
  /** Width of an indexer head; V3.2 has 128. */
  readonly headDim: number;
  /** Rotated entries, the first of each head. */
  readonly ropeDim: number;
  /** Tokens that a query attends to; V3.2 has 2048. */
  readonly topK: number;
}

/** Names and shapes of the parameters, as in Hugging Face checkpoints below `self_attn.indexer.`. */
export function indexerParameterShapes(config: IndexerConfig): Map<string, readonly number[]> {
  const { hiddenSize, queryWidth, heads, headDim } = config;
  return new Map<string, readonly number[]>([
    ['wq_b.weight', [heads * headDim, queryWidth]],
    ['wk.weight', [headDim, hiddenSize]],
    ['k_norm.weight', [headDim]],
    ['k_norm.bias', [headDim]],
    ['weights_proj.weight', [heads, hiddenSize]],
  ]);
}

/** Returns the config; throws `invalid-config` naming everything that is wrong with it. */
export function validateIndexer(config: IndexerConfig): IndexerConfig {
  const problems = Object.entries(config)
    .filter(([name, value]) => !Number.isSafeInteger(value) || value < (name === 'ropeDim' ? 0 : 1))
    .map(([name, value]) => `${name} a positive integer, got ${value}`);
  if (config.ropeDim % 2 !== 0 || config.ropeDim > config.headDim)
    problems.push(`ropeDim even and within headDim ${config.headDim}, got ${config.ropeDim}`);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `lightningIndexer: expected ${problems.join('; ')}`);
  return config;
}

/**
 * @example
 * const indexer = new LightningIndexer(config, parameters, rope);
 * const scores = indexer.scores(indexer.queries(latent, positions), indexer.weights(x), indexer.keys(x, positions));
 */
export class LightningIndexer implements Module {
  readonly config: IndexerConfig;
  readonly #parameters: Map<string, Tensor>;
  readonly #rope: RopeTable;

  /** @param rope tables of width `ropeDim` in the half-split layout */
  constructor(config: IndexerConfig, parameters: ReadonlyMap<string, Tensor>, rope: RopeTable) {
    this.config = validateIndexer(config);
    checkParameters('lightningIndexer', indexerParameterShapes(config), parameters);
    check(
      rope.config.width === config.ropeDim,
      () => `lightningIndexer: expected rotary tables of width ${config.ropeDim}, got ${rope.config.width}`,
    );
    this.#parameters = new Map(parameters);
    this.#rope = rope;
  }

  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /** Rotated queries [N, Hi, Ci] of the query latent [N, queryWidth]. */
  queries(latent: Tensor, positions: Tensor): Tensor {
    const { heads, headDim } = this.config;
    const q = linear(latent, this.#get('wq_b.weight')).reshape([-1, heads, headDim]);
    return this.#rope.apply(q, positions);
  }

  /** Rotated keys [N, Ci] of x [N, D]. */
  keys(x: Tensor, positions: Tensor): Tensor {
    const { headDim } = this.config;
    const k = linear(x, this.#get('wk.weight'));
    const centred = sub(k, column(mean(k, 1)));
    const spread = rsqrt(affine(mean(square(centred), 1), 1, 1e-6));
    const normal = mul(centred, column(spread));
    const scaled = add(mul(normal, this.#get('k_norm.weight')), this.#get('k_norm.bias'));
    return this.#rope.apply(scaled.reshape([-1, 1, headDim]), positions).reshape([-1, headDim]);
  }

  /** Weights of the heads, [N, Hi], the scale of products among them. */
  weights(x: Tensor): Tensor {
    const { heads, headDim } = this.config;
    return affine(linear(x, this.#get('weights_proj.weight')), (heads * headDim) ** -0.5, 0);
  }

  /** I[n, m] for every pair, [N, M], without a mask. */
  scores(q: Tensor, weights: Tensor, keys: Tensor): Tensor {
    return allScores(q, weights, keys);
  }

  /** The `topK` rows of `keys` that each query scores highest: `selectKeys`. */
  select(q: Tensor, weights: Tensor, keys: Tensor, ranges: Tensor): Tensor {
    return selectKeys(q, weights, keys, ranges, this.config.topK);
  }

  #get(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }
}

const column = (x: Tensor): Tensor => x.reshape([x.size, 1]);

/**
 * The `most` rows of `keys` that each query scores highest in its range, i32 [N, most], ascending, then -1 where the
 * range has fewer; of equal scores the first ones. Without gradient, and without products of heads in memory where the
 * backend has `indexerScores` (without `selectLargest` rows come by descending score).
 * @param q [N, Hi, Ci]; @param weights [N, Hi]; @param keys [M, Ci]
 * @param ranges i32 [N, 2], first row and end of what a query sees
 */
export function selectKeys(q: Tensor, weights: Tensor, keys: Tensor, ranges: Tensor, most: number): Tensor {
  const { arena } = q;
  return arena.withoutGrad(() =>
    arena.scope(() => {
      const table = arena.adopt(keys);
      if (arena.backend.supports('indexerScores'))
        return selectLargest(call('indexerScores', [q, weights, table, ranges], {})[0] as Tensor, most);
      const visible = call('rangeMask', [ranges], { size: keys.shape[0] as number })[0] as Tensor;
      return selectLargest(add(allScores(q, weights, table), visible), most);
    }),
  );
}

/** Scores of every pair, [N, M], differentiable; for shapes see `selectKeys`. */
export function allScores(q: Tensor, weights: Tensor, keys: Tensor): Tensor {
  const [rows, heads, width] = q.shape as readonly [number, number, number];
  const size = keys.shape[0] as number;
  const products = relu(matmul(q.reshape([rows * heads, width]), q.arena.adopt(keys), { transB: true }));
  const summed = matmul(weights.reshape([rows, 1, heads]), products.reshape([rows, heads, size]));
  return summed.reshape([rows, size]);
}
