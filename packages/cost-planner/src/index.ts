export {
  cacheBytesPerToken,
  decodeFlopsPerToken,
  forwardFlopsPerToken,
  type MergedTokens,
  promptFlops,
  trainingFlopsPerToken,
} from './compute.ts';
export { countDenseParameters, type DenseConfig, denseCacheBytes, distillPresets } from './dense.ts';
export { generationBytes, type WeightStorage, weightBytes, weightStorages } from './memory.ts';
export { countParameters, type ParameterCounts } from './parameters.ts';
export {
  achievedFlops,
  deepseekR1Training,
  deepseekV3Tokens,
  deepseekV3Training,
  gpuHours,
  type TrainingStage,
  trainingCost,
} from './training-cost.ts';
