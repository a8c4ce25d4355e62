/**
 * Per-token estimates of the reverse KL divergence from the policy to its reference, with x = lref - l.
 *
 * k1 = -x, k2 = x^2 / 2, k3 = e^x - x - 1 (Schulman, "Approximating KL divergence"; k3 is equation 4 of
 * DeepSeekMath, https://arxiv.org/abs/2402.03300). As values k1 and k3 are unbiased and k3 is never negative; as
 * losses on samples of the policy k2 has the gradient of the KL and k3 has not (https://arxiv.org/abs/2510.01555).
 */
import { affine, clamp, exp, square, sub, type Tensor } from '@minke/tensor';

export type KlEstimator = 'k1' | 'k2' | 'k3';

/** Exponents beyond this are cut, so that a ratio stays finite in f32. */
export const MAX_LOG_RATIO = 20;

/**
 * @param logProbs of the policy, [N]; the gradient flows here
 * @param refLogProbs of the reference, [N], constant
 * @returns nats for each token, [N]
 */
export function tokenKl(logProbs: Tensor, refLogProbs: Tensor, estimator: KlEstimator): Tensor {
  const logRatio = sub(logProbs, refLogProbs);
  if (estimator === 'k1') return logRatio;
  if (estimator === 'k2') return affine(square(logRatio), 0.5, 0);
  const x = clamp(affine(logRatio, -1, 0), -MAX_LOG_RATIO, MAX_LOG_RATIO);
  return affine(sub(exp(x), x), 1, -1);
}

/** Host side of `tokenKl`, for metrics and for rewards. */
export function klValue(logProb: number, refLogProb: number, estimator: KlEstimator): number {
  const x = refLogProb - logProb;
  if (estimator === 'k1') return -x;
  if (estimator === 'k2') return (x * x) / 2;
  const cut = Math.min(Math.max(x, -MAX_LOG_RATIO), MAX_LOG_RATIO);
  return Math.expm1(cut) - cut;
}
