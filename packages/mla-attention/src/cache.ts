/**
 * What attention keeps of past tokens: latents (R + P numbers a token and layer) or, in grouped-query attention and the
 * pinned expanded form, keys and values of every key head.
 *
 * Source of the latent cache: DeepSeek-V2, arXiv 2405.04434, section 2.1.2.
 */
import type { Backend } from '@minke/core';
import { call, scatterRows, type Tensor } from '@minke/tensor';
import { type CacheType, checkCacheType, storedWidth } from './cache-type.ts';
import { type CacheSize, SequenceCache, type TableSize } from './sequence-cache.ts';

/**
 * Rows of [normalised latent (R), rotated shared key (P)] for each token and layer.
 *
 * @example
 * using cache = new LatentCache(backend, { layers: 27, maxTokens: 4096, width: 576, cacheType: 'bf16' });
 */
export class LatentCache extends SequenceCache {
  readonly kind = 'latent';
  /** R + P. */
  readonly width: number;
  readonly cacheType: CacheType;

  /** Throws `unsupported` for a type that the backend has no attention to, before memory is taken. */
  constructor(
    backend: Backend,
    size: CacheSize & { readonly width: number; readonly cacheType?: CacheType | undefined },
  ) {
    const { width, maxTokens, cacheType = 'f32' } = size;
    checkCacheType(backend, cacheType, 'latent');
    super(backend, size, () => [tableOf(maxTokens, width, cacheType)]);
    this.width = width;
    this.cacheType = cacheType;
  }

  /** All rows of a layer, [sequences x maxTokens, width] in the cache's type (whole blocks), persistent. */
  latents(layer: number): Tensor {
    return this.table(layer, 0);
  }

  /** Stores x [N, width] at rows i32 [N]; returns what was stored, in the cache's type. */
  write(layer: number, x: Tensor, rows: Tensor): Tensor {
    return storeRows(x, rows, this.table(layer, 0));
  }
}

/** What keys and values of a layer's heads are, and how they are stored. */
export interface ExpandedCacheSize extends CacheSize {
  /** Key heads. */
  readonly heads: number;
  /** Numbers of a head's key. */
  readonly keyWidth: number;
  /** Numbers of a head's value. */
  readonly valueWidth: number;
  /** How they are stored. Default f32: exactly. */
  readonly cacheType?: CacheType | undefined;
}

/**
 * Keys and values of every key head: what grouped-query attention needs, and what keeps the expanded form of MLA
 * bit for bit what it is without a cache, in f32.
 */
export class ExpandedCache extends SequenceCache {
  readonly kind = 'expanded';
  readonly heads: number;
  readonly keyWidth: number;
  readonly valueWidth: number;
  readonly cacheType: CacheType;
  readonly #sharesPrefixes: boolean;

  /** Throws `unsupported` for a type that the backend has no attention to, before memory is taken. */
  constructor(backend: Backend, size: ExpandedCacheSize) {
    const { heads, keyWidth, valueWidth, maxTokens, cacheType = 'f32' } = size;
    checkCacheType(backend, cacheType, 'expanded');
    super(backend, size, () =>
      [keyWidth, valueWidth].map((width) => tableOf(maxTokens, heads * width, cacheType)),
    );
    this.heads = heads;
    this.keyWidth = keyWidth;
    this.valueWidth = valueWidth;
    this.cacheType = cacheType;
    this.#sharesPrefixes = cacheType === 'f32' && backend.supports('prefixedAttention');
  }

  /** Where the backend has attention to two ranges of what is stored. */
  override get sharesPrefixes(): boolean {
    return this.#sharesPrefixes;
  }

  /** Keys of a layer, [sequences x maxTokens, heads x keyWidth] in the cache's type (whole blocks), persistent. */
  keys(layer: number): Tensor {
    return this.table(layer, 0);
  }

  /** Values of a layer, [sequences x maxTokens, heads x valueWidth] in the cache's type (whole blocks), persistent. */
  values(layer: number): Tensor {
    return this.table(layer, 1);
  }

  /** Stores k [N, heads, keyWidth] and v [N, heads, valueWidth] at rows i32 [N]. */
  write(layer: number, k: Tensor, v: Tensor, rows: Tensor): void {
    for (const [index, x] of [k, v].entries()) {
      const [count, heads, width] = x.shape as readonly [number, number, number];
      storeRows(x.reshape([count, heads * width]), rows, this.table(layer, index));
    }
  }
}

const tableOf = (rows: number, width: number, cacheType: CacheType): TableSize => ({
  rows,
  width: storedWidth(cacheType, width),
  dtype: cacheType,
});

/** Stores x [N, width] at rows i32 [N] of a table; returns what was stored, in the table's type. */
function storeRows(x: Tensor, rows: Tensor, to: Tensor): Tensor {
  if (to.dtype !== 'f32') return call('storeRounded', [to, x, rows], {}, x.arena)[0] as Tensor;
  scatterRows(x, rows, to);
  return x;
}

/** Either cache; `kind` tells which. Layers that look at windows have a `HybridCache`. */
export type AttentionCache = LatentCache | ExpandedCache;
