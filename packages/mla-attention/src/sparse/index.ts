export { type BlockAttentionOptions, blockAttention } from './block-attention.ts';
export {
  CompressedAttention,
  type CompressedAttentionOptions,
  compressedRope,
} from './compressed-attention.ts';
export { CompressedCache, type CompressedCacheSize, compressedCacheBytes } from './compressed-cache.ts';
export {
  type CompressedAttentionConfig,
  type Compression,
  compressedParameterShapes,
  type HeavyCompression,
  type SparseCompression,
  validateCompressedAttention,
} from './compressed-config.ts';
export { attentionTarget, indexerLoss } from './indexer-loss.ts';
export {
  type IndexerConfig,
  indexerParameterShapes,
  LightningIndexer,
  selectKeys,
  validateIndexer,
} from './lightning-indexer.ts';
export { NativeSparseCache, type NativeSparseCacheSize, nativeSparseCacheBytes } from './native-cache.ts';
export {
  type NativeSparseConfig,
  nativeSparseParameterShapes,
  validateNativeSparse,
} from './native-config.ts';
export {
  NativeSparseAttention,
  type NativeSparseOptions,
  nativeSparseRope,
} from './native-sparse-attention.ts';
export {
  type IndexerStage,
  type SparseAttentionOptions,
  SparseLatentAttention,
  type SparseMlaConfig,
  sparseIndexerRope,
  sparseParameterShapes,
} from './sparse-attention.ts';
export { SparseCache, type SparseCacheSize, sparseCacheBytes } from './sparse-cache.ts';
