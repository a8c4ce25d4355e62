/**
 * Weights for samples that did not come from the policy that the ratio is measured against.
 *
 * The engine that sampled (log-probabilities lmu) and the trainer (lo) may differ although their weights are equal.
 * w = exp(lo - lmu), of a token or of a whole sequence (product, or geometric mean). `truncate` multiplies the loss
 * by min(w, high) (truncated importance sampling); `mask` multiplies by w, and by 0 outside [low, high] (IcePop,
 * https://arxiv.org/abs/2510.18855). The sequence mask of DeepSeek-V3.2 (https://arxiv.org/abs/2512.02556, section
 * 3.1) drops a sequence of negative advantage whose mean lmu - l exceeds a threshold.
 */
import { affine, clamp, exp, mul, neg, sub, type Tensor } from '@minke/tensor';
import { MAX_LOG_RATIO } from './kl.ts';
import { type Segments, segmentSum, spread } from './segments.ts';
import { complement, isPositive } from './selection.ts';

export interface SamplingCorrection {
  readonly mode: 'truncate' | 'mask';
  readonly level: 'token' | 'sequence' | 'sequence-mean';
  /** Smallest weight, default 0: `truncate` raises to it, `mask` drops what is below. */
  readonly low?: number;
  /** Largest weight: 2 in verl and OpenRLHF, 3 in TRL. */
  readonly high: number;
}

/** Weight of each token, [N], from the trainer's and the sampler's log-probabilities [N]. No gradient. */
export function correctionWeights(
  trainerLogProbs: Tensor,
  samplerLogProbs: Tensor,
  segments: Segments,
  { mode, level, low = 0, high }: SamplingCorrection,
): Tensor {
  const difference = sub(trainerLogProbs.detach(), samplerLogProbs.detach());
  const weight = exp(clamp(leveled(difference, segments, level), -MAX_LOG_RATIO, MAX_LOG_RATIO));
  if (mode === 'truncate') return clamp(weight, low, high);
  const outside = [affine(weight, 1, -high), affine(weight, -1, low)].map(isPositive);
  return outside.reduce((kept, one) => mul(kept, complement(one)), weight);
}

function leveled(difference: Tensor, segments: Segments, level: SamplingCorrection['level']): Tensor {
  if (level === 'token') return difference;
  const sums = segmentSum(difference, segments);
  return spread(level === 'sequence' ? sums : mul(sums, segments.inverseLengths), segments);
}

/**
 * 1 for tokens to keep, 0 for those of sequences to drop, [N]. No gradient.
 * @param threshold nats a token, above 0
 */
export function offPolicyMask(
  logProbs: Tensor,
  samplerLogProbs: Tensor,
  advantages: Tensor,
  segments: Segments,
  threshold: number,
): Tensor {
  const difference = sub(samplerLogProbs.detach(), logProbs.detach());
  const mean = mul(segmentSum(difference, segments), segments.inverseLengths);
  const far = spread(isPositive(affine(mean, 1, -threshold)), segments);
  return complement(mul(far, isPositive(neg(advantages))));
}
