export { AdamW, type AdamWOptions, type Moments } from './adamw.ts';
export { Arena, type ArenaOptions, type PackedForms } from './arena.ts';
export { type Backward, customOp, freshGradBuffer, gradBuffer } from './autograd.ts';
export { call } from './call.ts';
export {
  abs,
  add,
  affine,
  clamp,
  div,
  exp,
  log,
  maximum,
  minimum,
  mul,
  neg,
  reciprocal,
  relu,
  rsqrt,
  sigmoid,
  silu,
  softplus,
  sqrt,
  square,
  sub,
  tanh,
} from './elementwise.ts';
export { crossEntropy, rmsNorm, swiglu } from './fused.ts';
export { type GradcheckInput, type GradcheckOptions, type GradcheckReport, gradcheck } from './gradcheck.ts';
export { reportLeaks } from './leaks.ts';
export { accumulateProduct, linear, matmul } from './linear-algebra.ts';
export { linearCrossEntropy } from './linear-cross-entropy.ts';
export { type LowRank, lowRankLinear, lowRankSum } from './low-rank.ts';
export {
  addParameters,
  constantInit,
  Embedding,
  Linear,
  loadParameters,
  type Module,
  normalInit,
  RmsNorm,
} from './modules.ts';
export { Muon, type MuonOptions, type MuonState } from './muon.ts';
export { type QuantizedRows, quantizeRows, tilesOf } from './packed-product.ts';
export {
  blocksTensor,
  groupedLinearPacked,
  linearPacked,
  type PackedStorage,
  PackedWeight,
  packWeight,
} from './packed-weight.ts';
export { PackedWeights } from './packed-weights.ts';
export type { Plan } from './plan.ts';
export {
  attachTiles,
  type QuantizedRowsAt,
  quantizedWeight,
  rowBlocksOf,
  writeQuantized,
} from './quantized-weight.ts';
export { logSoftmax, max, mean, softmax, sum } from './reductions.ts';
export { type SampledTokens, SamplingInputs, type SamplingRows, sampleTokens } from './sampling.ts';
export { concat, gatherLast, gatherRows, permute, repeat, scatterRows, slice, topK } from './shaping.ts';
export { isTensor, Tensor } from './tensor.ts';
