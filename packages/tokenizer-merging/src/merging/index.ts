export {
  type BidirectionalOptions,
  type EncoderMerge,
  type LastPositionMerge,
  mergeBidirectional,
  mergeForLastPosition,
} from './bidirectional.ts';
export { CausalConvolution, type ConvolutionConfig } from './causal-convolution.ts';
export {
  type CausalGroups,
  type CausalLocalMerge,
  type CausalLocalOptions,
  groupNeighbours,
  mergeCausalLocal,
} from './causal-local.ts';
export {
  copyBack,
  type InflatorConfig,
  type MergeMix,
  type MergeRouter,
  type MergerConfig,
  routerProblems,
} from './config.ts';
export { DynamicTokenInflator, inflatorParameterShapes } from './dynamic-token-inflator.ts';
export { type EntropyBoundariesOptions, entropyBoundaries } from './entropy-boundaries.ts';
export type { MergeAmount } from './matching.ts';
export type { MergeBatch } from './past.ts';
export { type MergePlan, makePlan, type PlanInputs, type SequenceStart } from './plan.ts';
export { criticalTokens } from './protect.ts';
export { compressionAim, type MergeStatistics, mergeStatistics, ratioLoss } from './ratio.ts';
export {
  type InitOptions,
  type Merged,
  mergerParameterShapes,
  SoftTokenMerger,
} from './soft-token-merger.ts';
export type { MergeState, MergeStateSize } from './state.ts';
export { parseTokenBitmap, tokenBitmapProblem, tokenBitmapText, tokenRows } from './token-bitmap.ts';
