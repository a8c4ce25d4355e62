/**
 * How far an f32 backend may be from the reference, per op, with the reason.
 *
 * An error is measured against a magnitude and compared with `relative`. Magnitudes:
 * - `element`: the expected number itself, or `floor` where that is larger;
 * - `absolute`: the same op over absolute values (sum |a||b| for a product): the scale in which the rounding
 *   errors of a sum are bounded, whatever cancels (Higham, Accuracy and Stability, section 3.1);
 * - `tensor`: the largest expected number of the tensor;
 * - `inputs`: the largest number of any tensor of the call.
 * Integers, raw bytes, infinities and NaN must always agree exactly.
 */
import type { Attributes, OpName, Shape } from '@minke/core';

export interface Tolerance {
  readonly relative: number;
  readonly magnitude: 'element' | 'absolute' | 'tensor' | 'inputs';
  /** Smallest magnitude, in the output's unit; 0 by default. */
  readonly floor?: number;
}

/** Unit roundoff of f32: the relative error of one correctly rounded operation. */
const UNIT = 2 ** -24;

/** Data movement, comparison, and single operations that IEEE 754 and WGSL round correctly. */
const EXACT: Tolerance = { relative: 0, magnitude: 'element' };

/** Division and square root: 2.5 units in the last place in WGSL (an ulp is up to two units of roundoff). */
const ROUNDED: Tolerance = { relative: 6 * UNIT, magnitude: 'element' };

/** A few operations around one exp or log of about 2 ulp; the argument's rounding is amplified up to |x| = 20. */
const FUNCTION = 48 * UNIT;

/** Results smaller than what the maths subtracts to get them (log near 1, 1 - tanh^2) are held to 1 instead. */
const NEAR_ONE = 1;

/** A sum of `length` products in any order: at most one rounding a product and one an addition. */
function sum(length: number): Tolerance {
  return { relative: (length + 4) * UNIT, magnitude: 'absolute' };
}

/** Compensated or f64 sums do not lose accuracy with length: a rounding per square, one of the result. */
const COMPENSATED: Tolerance = { relative: 4 * UNIT, magnitude: 'absolute' };

/** Gradients are differences of terms of order one in the drafts and can cancel to nothing. */
const CANCELLING = 2 ** -3;

/** Several dependent sums of `length` terms with a few functions between: errors add, cancellation can hide
 *  an element, so the tensor's largest number is the scale. Four times the worst chain. */
function fused(length: number, functions = 0): Tolerance {
  return {
    relative: 4 * (length + 8) * UNIT + functions * FUNCTION,
    magnitude: 'tensor',
    floor: CANCELLING,
  };
}

/** Softmax over scores that are themselves sums of `width` products: exp amplifies their rounding by the
 *  largest score, which the drafts keep under about 100. */
function attentionLike(width: number, keys: number): Tolerance {
  return {
    relative: (keys + 8) * UNIT + 16 * (Math.sqrt(width) + 4) * UNIT,
    magnitude: 'tensor',
    floor: CANCELLING,
  };
}

/** Probabilities that are rounded to bf16 here and not in the reference, and keys that round the other way. */
const BFLOAT_ATTENTION: Tolerance = { relative: 2 ** -7, magnitude: 'tensor', floor: CANCELLING };

/** `sum` over operands both sides round alike; what is below 2^-126 after any addition may be flushed to zero. */
function bfloatSum(length: number): Tolerance {
  return { ...sum(length), floor: 2 ** -100 };
}

/** A sum over groups whose own sums are exact: three roundings a group. */
function groupSum(groups: number): Tolerance {
  return { relative: 4 * (groups + 4) * UNIT, magnitude: 'tensor' };
}

const axis = (shapes: readonly Shape[], tensor: number, index: number): number => shapes[tensor]![index]!;
const lastOf = (shapes: readonly Shape[], tensor: number): number => shapes[tensor]!.at(-1) ?? 1;
const innerSize = (shapes: readonly Shape[], transA: number): number =>
  transA ? shapes[0]!.at(-2)! : shapes[0]!.at(-1)!;

type UnaryKind = Attributes<'unary'>['kind'];

function unary(kind: UnaryKind): Tolerance {
  switch (kind) {
    case 'neg':
    case 'abs':
    case 'relu':
    case 'clamp':
    case 'square':
      return EXACT;
    case 'sqrt':
    case 'rsqrt':
    case 'reciprocal':
      return ROUNDED;
    case 'affine':
      return sum(1);
    case 'log':
    case 'tanh':
    case 'softplus':
      return { relative: FUNCTION, magnitude: 'element', floor: NEAR_ONE };
    case 'exp':
    case 'sigmoid':
    case 'silu':
      return { relative: FUNCTION, magnitude: 'element' };
  }
}

function unaryGrad(kind: UnaryKind): Tolerance {
  switch (kind) {
    case 'neg':
    case 'abs':
    case 'relu':
    case 'clamp':
    case 'affine':
      return EXACT;
    case 'square':
    case 'sqrt':
    case 'log':
      return ROUNDED;
    case 'exp':
    case 'rsqrt':
    case 'reciprocal':
      return { relative: FUNCTION, magnitude: 'element' };
    case 'sigmoid':
    case 'silu':
    case 'tanh':
    case 'softplus':
      return { relative: FUNCTION, magnitude: 'element', floor: NEAR_ONE };
  }
}

/** One entry per op: the tolerance for a call's input shapes and attributes. */
export const tolerances: {
  readonly [O in OpName]: (shapes: readonly Shape[], attributes: Attributes<O>) => Tolerance;
} = {
  fill: () => EXACT,
  copyInto: () => EXACT,
  cast: () => EXACT,
  permute: () => EXACT,
  slice: () => EXACT,
  place: () => EXACT,
  concat: () => EXACT,
  repeat: () => EXACT,
  gatherRows: () => EXACT,
  scatterAddRows: (shapes) => sum(axis(shapes, 0, 0)),
  scatterRows: () => EXACT,
  storeRounded: () => EXACT,
  gatherLast: () => EXACT,
  scatterLast: (shapes) => sum(axis(shapes, 0, 1)),
  unary: (_, { kind }) => unary(kind),
  unaryGrad: (_, { kind }) => unaryGrad(kind),
  binary: (_, { kind }) => (kind === 'div' ? ROUNDED : EXACT),
  accumulate: () => sum(1),
  reduce: (shapes, { kind, axis: on }) => (kind === 'max' ? EXACT : sum(axis(shapes, 0, on))),
  sumSquares: () => COMPENSATED,
  softmax: (shapes, { kind }) =>
    kind === 'log'
      ? { relative: FUNCTION + lastOf(shapes, 0) * UNIT, magnitude: 'inputs' }
      : { relative: FUNCTION + lastOf(shapes, 0) * UNIT, magnitude: 'element', floor: 2 ** -10 },
  softmaxGrad: (shapes) => fused(lastOf(shapes, 0), 1),
  topK: () => EXACT,
  matmul: (shapes, { transA }) => sum(innerSize(shapes, transA)),
  matmulInto: (shapes, { transA }) => sum(innerSize(shapes, transA) + 1),
  matmulBf16: (shapes, { transA }) => bfloatSum(innerSize(shapes, transA)),
  packWeight: () => EXACT,
  packWeightBf16: () => EXACT,
  matmulPacked: (shapes) => sum(axis(shapes, 0, 1)),
  matmulPackedBf16: (shapes) => bfloatSum(axis(shapes, 0, 1)),
  rmsNorm: (shapes) => ({ relative: (lastOf(shapes, 0) + 16) * UNIT, magnitude: 'element' }),
  rmsNormGrad: (shapes) => fused(lastOf(shapes, 0) + axis(shapes, 0, 0)),
  rope: () => ({ relative: 4 * UNIT, magnitude: 'tensor' }),
  swiglu: () => ({ relative: FUNCTION, magnitude: 'element' }),
  swigluGrad: () => ({ relative: FUNCTION, magnitude: 'tensor' }),
  crossEntropy: (shapes) => ({ relative: FUNCTION + lastOf(shapes, 0) * UNIT, magnitude: 'inputs' }),
  crossEntropyGrad: () => ({ relative: FUNCTION, magnitude: 'inputs' }),
  adamW: () => ({ relative: 16 * UNIT, magnitude: 'tensor' }),
  blend: () => sum(2),
  muonDirection: () => ({ relative: 16 * UNIT, magnitude: 'tensor' }),
  sample: (shapes) => ({
    relative: FUNCTION + lastOf(shapes, 0) * UNIT,
    magnitude: 'inputs',
    floor: NEAR_ONE,
  }),
  rangeMask: () => EXACT,
  attention: (shapes) => attentionLike(axis(shapes, 0, 2), axis(shapes, 1, 0)),
  attentionGrad: (shapes) =>
    attentionLike(axis(shapes, 0, 2) + axis(shapes, 2, 2), axis(shapes, 0, 0) + axis(shapes, 1, 0)),
  prefixedAttention: (shapes) => attentionLike(axis(shapes, 0, 2), axis(shapes, 1, 0)),
  latentAttention: (shapes) => attentionLike(axis(shapes, 0, 2), axis(shapes, 1, 0)),
  attentionRounded: (shapes) => attentionLike(axis(shapes, 0, 2), axis(shapes, 1, 0)),
  latentAttentionRounded: (shapes, { bfloat }) =>
    bfloat ? BFLOAT_ATTENTION : attentionLike(axis(shapes, 0, 2), axis(shapes, 1, 0)),
  // Keys and values are sums over the latent before they enter sums of their own.
  expandedAttention: (shapes, { bfloat }) =>
    bfloat ? BFLOAT_ATTENTION : attentionLike(axis(shapes, 0, 2) + axis(shapes, 2, 2), axis(shapes, 1, 0)),
  splitAttention: (shapes) => attentionLike(axis(shapes, 0, 2), axis(shapes, 1, 0)),
  splitAttentionGrad: (shapes) =>
    attentionLike(axis(shapes, 0, 2) + axis(shapes, 2, 2), axis(shapes, 0, 0) + axis(shapes, 1, 0)),
  gatheredAttention: (shapes) => attentionLike(axis(shapes, 0, 2), axis(shapes, 2, 1)),
  // |weights| relu(|q| . |keys|) is the scale of both sums.
  indexerScores: (shapes) => sum(axis(shapes, 0, 2) + axis(shapes, 0, 1)),
  selectLargest: () => EXACT,
  expandKeys: () => EXACT,
  expandKeysGrad: (shapes) => sum(axis(shapes, 0, 1)),
  absorbQuery: (_, { nope }) => sum(nope),
  absorbOutput: (shapes) => sum(axis(shapes, 0, 2)),
  routeSelect: () => EXACT,
  expertPlan: () => EXACT,
  histogram: () => EXACT,
  groupedMatmul: (shapes) => sum(axis(shapes, 0, 1)),
  groupedMatmulBf16: (shapes) => bfloatSum(axis(shapes, 0, 1)),
  groupedMatmulPacked: (shapes) => sum(axis(shapes, 0, 1)),
  groupedMatmulPackedBf16: (shapes) => bfloatSum(axis(shapes, 0, 1)),
  groupedMatmulGradWeight: (shapes) => sum(axis(shapes, 0, 0) + 1),
  moeCombine: (shapes) => sum(axis(shapes, 1, 1)),
  moeCombineGrad: (shapes) => sum(axis(shapes, 0, 1)),
  route: (shapes) => ({ relative: FUNCTION + lastOf(shapes, 0) * UNIT, magnitude: 'tensor' }),
  routeGrad: (shapes) => fused(lastOf(shapes, 0), 1),
  moeFeedForward: (shapes) => fused(axis(shapes, 2, 2) + axis(shapes, 2, 1) + axis(shapes, 5, 0), 1),
  moeFeedForwardGrad: (shapes) => fused(axis(shapes, 1, 2) + 2 * axis(shapes, 1, 1) + axis(shapes, 4, 0), 1),
  moeFeedForwardGradWeight: (shapes) => fused(axis(shapes, 3, 0)),
  moeFeedForwardPacked: (shapes) => fused(axis(shapes, 2, 2) + axis(shapes, 4, 2) + axis(shapes, 7, 1), 1),
  // Errors of earlier rows fade as the rows do.
  smoothRows: () => ({ relative: 32 * UNIT, magnitude: 'tensor' }),
  smoothRowsGrad: (shapes) => fused(axis(shapes, 0, 1) + 32),
  // Integers and scales are defined to the bit.
  quantize: () => EXACT,
  packQuantized: () => EXACT,
  quantizeRows: () => EXACT,
  matmulQuantized: (shapes) => groupSum(axis(shapes, 1, 1)),
  groupedMatmulQuantized: (shapes) => groupSum(axis(shapes, 1, 1)),
  gatherRowsQuantized: () => EXACT,
  // A hidden number that rounds the other way is off by a step of its group, 1 / 127 of the largest. That the op has
  // the bits of its parts is a check of its own.
  // Blocks have no absolute value: the scale of the sums is the largest of them.
  absorbQueryQuantized: (_, { nope }) => ({ ...sum(nope), magnitude: 'tensor' }),
  absorbOutputQuantized: (shapes) => ({ ...sum(axis(shapes, 0, 2)), magnitude: 'tensor' }),
  moeFeedForwardQuantized: () => ({ relative: 2 ** -6, magnitude: 'tensor', floor: CANCELLING }),
};
