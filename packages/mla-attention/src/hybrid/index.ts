export {
  type HybridAttentionOptions,
  HybridLatentAttention,
  hybridParameterShapes,
} from './hybrid-attention.ts';
export { HybridCache, type HybridCacheSize, hybridCacheBytes, ringSlots } from './hybrid-cache.ts';
export {
  interleavedPlan,
  type LayerPlan,
  type LayerType,
  layerPlanProblems,
  validateLayerPlan,
} from './layer-plan.ts';
export { type SplitOptions, splitAttention } from './split-attention.ts';
export { type Placed, placedTokens, splitNumbers, splitRanges } from './split-ranges.ts';
export type { SplitRanges } from './window-rows.ts';
