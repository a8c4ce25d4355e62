/**
 * The importance ratio between the policy and the one that its samples are corrected to, at four levels.
 *
 * `token`: exp(l_t - lo_t). `sequence`: s = exp(mean_t(l_t - lo_t)), the geometric mean of GSPO
 * (https://arxiv.org/abs/2507.18071, equation 7). `sequence-token`: the value of s with the gradient of the token's
 * own log-probability (GSPO-token, equation 14). `sequence-product`: exp(sum_t(l_t - lo_t)), the probability ratio
 * of the whole sequence, which RLOO uses. All are given for each token; exponents are cut at +-20.
 */
import { add, clamp, exp, mul, sub, type Tensor } from '@minke/tensor';
import { MAX_LOG_RATIO } from './kl.ts';
import { type Segments, segmentSum, spread } from './segments.ts';

export type RatioLevel = 'token' | 'sequence' | 'sequence-token' | 'sequence-product';

/** [N] from the log-probabilities [N] of the policy and of the old policy. */
export function importanceRatio(
  logProbs: Tensor,
  oldLogProbs: Tensor,
  segments: Segments,
  level: RatioLevel,
): Tensor {
  const logRatio = sub(logProbs, oldLogProbs);
  if (level === 'token') return exp(cut(logRatio));
  const sums = segmentSum(logRatio, segments);
  if (level === 'sequence-product') return spread(exp(cut(sums)), segments);
  const sequence = cut(mul(sums, segments.inverseLengths));
  if (level === 'sequence') return spread(exp(sequence), segments);
  const own = sub(logProbs, logProbs.detach());
  return exp(add(own, spread(sequence.detach(), segments)));
}

const cut = (x: Tensor): Tensor => clamp(x, -MAX_LOG_RATIO, MAX_LOG_RATIO);
