/**
 * How past tokens are stored, latents or keys and values: exactly, in bf16, or in GGUF's blocks of 8 bits.
 *
 * A block is 32 numbers of a row with an f16 scale of their own, 34 bytes, as in llama.cpp's caches of type q8_0: with one
 * scale a row the largest number of a row sets the step of all. What is written is rounded once, before any query reads
 * it, also those of its own step.
 */
import { type Backend, byteLength, check, dtypes, MinkeError } from '@minke/core';

export const cacheTypes = ['f32', 'bf16', 'q8_0'] as const;

/** A storage type of latents, or of keys and values. */
export type CacheType = (typeof cacheTypes)[number];

/** Numbers of a row as it is stored: in blocks, with zeros up to whole ones. */
export function storedWidth(cacheType: CacheType, width: number): number {
  const { blockSize } = dtypes[cacheType];
  return blockSize * Math.ceil(width / blockSize);
}

/** Bytes of a row of `width` numbers in a cache. */
export function cachedRowBytes(cacheType: CacheType, width: number): number {
  return byteLength(cacheType, storedWidth(cacheType, width));
}

const readers = {
  latent: ['latentAttentionRounded', 'expandedAttention'],
  expanded: ['attentionRounded'],
} as const;

/** Throws `invalid-argument` for what is no type, `unsupported` unless the backend stores and reads rows in it. */
export function checkCacheType(backend: Backend, cacheType: CacheType, kind: keyof typeof readers): void {
  check(
    cacheTypes.includes(cacheType),
    () => `createCache: expected a cacheType of ${cacheTypes.join(', ')}, got ${cacheType}`,
  );
  if (cacheType === 'f32') return;
  if (!backend.supports('storeRounded') || !readers[kind].every((op) => backend.supports(op)))
    throw new MinkeError(
      'unsupported',
      `createCache: expected a backend with attention to ${cacheType} caches, got ${backend.info.name}; use f32, or the native, wasm or reference backend`,
    );
}
