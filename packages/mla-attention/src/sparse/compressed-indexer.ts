/**
 * The indexer of compressed and sparse attention (DeepSeek-V4's report, section 2.3.1): keys pooled as the entries are,
 * at its own width, and the score sum over h of w[t, h] ReLU(q[t, h] . k[s]) of each entry.
 */
import { affine, linear, type Tensor } from '@minke/tensor';
import type { RopeTable } from '../rope.ts';
import type { SparseCompression } from './compressed-config.ts';
import { allScores, selectKeys } from './lightning-indexer.ts';
import { WindowPool } from './window-pool.ts';

/** Rotated queries [N, Hi, Ci], and the weights of the heads [N, Hi]. */
export interface IndexerQueries {
  readonly q: Tensor;
  readonly weights: Tensor;
}

export class CompressedIndexer extends WindowPool {
  readonly #config: SparseCompression['indexer'];
  readonly #weight: (name: string) => Tensor;
  readonly #turn: RopeTable;

  constructor(compression: SparseCompression, get: (name: string) => Tensor, rope: RopeTable, eps: number) {
    super(compression, get, rope, eps);
    this.#config = compression.indexer;
    this.#weight = get;
    this.#turn = rope;
  }

  /** Entries that a query attends to. */
  get topK(): number {
    return this.#config.topK;
  }

  /** @param latent the normalised query latent [N, qLoraRank] of x [N, D] */
  queries(x: Tensor, latent: Tensor, positions: Tensor): IndexerQueries {
    const { heads, headDim } = this.#config;
    const q = linear(latent, this.#weight('q_b_proj.weight')).reshape([-1, heads, headDim]);
    const weights = linear(x, this.#weight('scorer.weights_proj.weight'));
    return {
      q: this.#turn.apply(q, positions, headDim - this.#turn.config.width),
      weights: affine(weights, (heads * headDim) ** -0.5, 0),
    };
  }

  /** Rows of the `topK` best entries in each query's range, i32 [N, topK], ascending; -1 where there are fewer. */
  select({ q, weights }: IndexerQueries, keys: Tensor, ranges: Tensor): Tensor {
    return selectKeys(q, weights, keys, ranges, this.#config.topK);
  }

  /** Scores of all entries, [N, M]. */
  scores({ q, weights }: IndexerQueries, keys: Tensor): Tensor {
    return allScores(q, weights, keys);
  }
}
