export { type BlockAttentionOptions, blockAttention } from './block-attention.ts';
export { attentionTarget, indexerLoss } from './indexer-loss.ts';
export {
  type IndexerConfig,
  indexerParameterShapes,
  LightningIndexer,
  validateIndexer,
} from './lightning-indexer.ts';
export {
  type IndexerStage,
  type SparseAttentionOptions,
  SparseLatentAttention,
  type SparseMlaConfig,
  sparseIndexerRope,
  sparseParameterShapes,
} from './sparse-attention.ts';
export { SparseCache, type SparseCacheSize, sparseCacheBytes } from './sparse-cache.ts';
