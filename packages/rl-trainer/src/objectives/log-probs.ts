/**
 * Log-probabilities of chosen tokens and entropies of the distributions they were drawn from.
 *
 * Both at the sampling temperature: a policy sampled at temperature T is softmax(logits / T), and ratios between
 * trainer and sampler are wrong from the first step when one of them ignores it. Truncations of the sampler
 * (top-p, top-k) are not part of the distribution here.
 */
import { check } from '@minke/core';
import { crossEntropy, exp, logSoftmax, maximum, mul, neg, sum, type Tensor } from '@minke/tensor';

/** Logits divided by the temperature, a finite number above 0. */
function tempered(where: string, logits: Tensor, temperature: number): Tensor {
  check(
    Number.isFinite(temperature) && temperature > 0,
    () =>
      `${where}: expected a temperature above 0, got ${temperature}; greedy samples have no log-probability`,
  );
  if (temperature === 1) return logits;
  // A tensor, so that it is rounded to the backend's numbers as the sampler's is.
  return mul(logits, logits.arena.tensor([1 / temperature], [1]));
}

/**
 * log softmax(logits / T)[target] of each row: logits [N, V], targets i32 [N] -> [N], in nats. Differentiable.
 * Throws `invalid-argument` for a temperature that is not above 0.
 *
 * @example
 * const logProbs = tokenLogProbs(logits, targets, 1);
 */
export function tokenLogProbs(logits: Tensor, targets: Tensor, temperature = 1): Tensor {
  return neg(crossEntropy(tempered('tokenLogProbs', logits, temperature), targets));
}

/** Stands for log 0: a token of probability 0 adds nothing to an entropy, where 0 x -inf would be NaN. */
const LOG_OF_NOTHING = -1e4;

/** Entropy of softmax(logits / T) of each row, [N, V] -> [N], in nats. Differentiable; detach the logits if not wanted. */
export function tokenEntropies(logits: Tensor, temperature = 1): Tensor {
  const logP = maximum(logSoftmax(tempered('tokenEntropies', logits, temperature)), LOG_OF_NOTHING);
  return neg(sum(mul(exp(logP), logP), -1));
}
