/**
 * What sparse attention keeps of past tokens: the latents, of which a step reads the selected ones, and the indexer's
 * keys, of which it reads all.
 */
import type { Backend } from '@minke/core';
import { scatterRows, type Tensor } from '@minke/tensor';
import { type CacheSize, SequenceCache } from '../sequence-cache.ts';

export interface SparseCacheSize extends CacheSize {
  /** Numbers of a token's latent and shared key: R + P. */
  readonly width: number;
  /** Width of the indexer's key. */
  readonly indexWidth: number;
}

/** Bytes of device memory that a cache takes. */
export function sparseCacheBytes(size: SparseCacheSize): number {
  const { layers = 1, sequences = 1, maxTokens, width, indexWidth } = size;
  return 4 * layers * sequences * maxTokens * (width + indexWidth);
}

/**
 * @example
 * using cache = new SparseCache(backend, { layers: 27, maxTokens: 32768, width: 576, indexWidth: 128 });
 */
export class SparseCache extends SequenceCache {
  readonly kind = 'sparse';

  constructor(backend: Backend, size: SparseCacheSize) {
    super(backend, size, [size.width, size.indexWidth]);
  }

  /** A pass selects among as many tokens as there were when it was recorded. */
  override get repeats(): boolean {
    return false;
  }

  /** Latents of a layer, [sequences x maxTokens, width], persistent. */
  latents(layer: number): Tensor {
    return this.table(layer, 0);
  }

  /** Keys of a layer's indexer, [sequences x maxTokens, indexWidth], persistent. */
  indexKeys(layer: number): Tensor {
    return this.table(layer, 1);
  }

  /** Stores latents [N, width] and keys [N, indexWidth] at rows i32 [N]. */
  write(layer: number, latents: Tensor, keys: Tensor, rows: Tensor): void {
    scatterRows(latents, rows, this.table(layer, 0));
    scatterRows(keys, rows, this.table(layer, 1));
  }
}
