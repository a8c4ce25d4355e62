/**
 * The indexer of compressed and sparse attention (DeepSeek-V4's report, section 2.3.1): keys pooled as the entries are,
 * at its own width, and the score sum over h of w[t, h] ReLU(q[t, h] . k[s]) of each entry. Without gradient.
 */
import { affine, linear, type Tensor } from '@minke/tensor';
import type { RopeTable } from '../rope.ts';
import type { SparseCompression } from './compressed-config.ts';
import { allScores, selectKeys } from './lightning-indexer.ts';
import { selectionMask } from './selection-mask.ts';
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

  override rows(x: Tensor): Tensor {
    return x.arena.withoutGrad(() => super.rows(x));
  }

  override entries(rows: Tensor, first: number, end: number): Tensor {
    return rows.arena.withoutGrad(() => super.entries(rows, first, end));
  }

  /** @param latent the normalised query latent [N, qLoraRank] of x [N, D] */
  queries(x: Tensor, latent: Tensor, positions: Tensor): IndexerQueries {
    const { heads, headDim } = this.#config;
    return x.arena.withoutGrad(() => {
      const q = linear(latent, this.#weight('q_b_proj.weight')).reshape([-1, heads, headDim]);
      const weights = linear(x, this.#weight('scorer.weights_proj.weight'));
      return {
        q: this.#turn.apply(q, positions, headDim - this.#turn.config.width),
        weights: affine(weights, (heads * headDim) ** -0.5, 0),
      };
    });
  }

  /** Rows of the `topK` best entries in each query's range, i32 [N, topK], ascending; -1 where there are fewer. */
  select({ q, weights }: IndexerQueries, keys: Tensor, ranges: Tensor): Tensor {
    return selectKeys(q, weights, keys, ranges, this.#config.topK);
  }

  /** The same choice as numbers to add to scores, [N, M]. */
  mask({ q, weights }: IndexerQueries, keys: Tensor, visible: Tensor): Tensor {
    if ((keys.shape[0] as number) <= this.#config.topK) return visible;
    return q.arena.withoutGrad(() => selectionMask(allScores(q, weights, keys), visible, this.#config.topK));
  }
}
