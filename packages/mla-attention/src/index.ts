export { attention, latentAttention } from './attention.ts';
export {
  type AttentionBatch,
  type AttentionForm,
  type CachedRows,
  packSequences,
  packShared,
  type Run,
  type Segment,
  type SharedRows,
  type SharingSequence,
  type TokenRole,
} from './batch.ts';
export { type AttentionCache, ExpandedCache, type ExpandedCacheSize, LatentCache } from './cache.ts';
export { type CacheElements, type CacheShape, cacheElements, publishedCacheShapes } from './cache-share.ts';
export { type CacheType, cachedRowBytes, cacheTypes } from './cache-type.ts';
export { gatheredAttention } from './gathered-attention.ts';
export { type GqaConfig, GroupedQueryAttention, gqaParameterShapes, gqaRope } from './gqa.ts';
export type { KeyBias } from './key-bias.ts';
export type { AttentionOptions, InitOptions } from './layer.ts';
export { type Llama3RopeConfig, llama3Divisors } from './llama3-rope.ts';
export {
  createMlaCache,
  type MlaCacheSize,
  type MlaOptions,
  MultiHeadLatentAttention,
} from './mla.ts';
export { type MlaConfig, mlaParameterShapes, mlaRope } from './mla-config.ts';
export { type RopeConfig, type RopeLayout, RopeTable, ropeFrequencies, ropeTables } from './rope.ts';
export type { AppendRequest, CacheSize } from './sequence-cache.ts';
export { attentionScale, type YarnConfig, yarnFrequencies, yarnMagnitude, yarnRotaryFactor } from './yarn.ts';
