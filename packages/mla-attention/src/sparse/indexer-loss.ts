/**
 * How the lightning indexer learns (DeepSeek-V3.2, section 2.1): KL(p || softmax(I)), p the attention's probabilities
 * summed over heads and scaled to sum to one, detached.
 *
 * Dense warm-up: over all visible tokens, everything else frozen. Sparse stage: over the selected tokens only.
 */
import { add, affine, clamp, log, logSoftmax, mean, mul, sub, sum, type Tensor } from '@minke/tensor';

/** What an indexer learns from probabilities of attention [H, N, M]: their mean over heads, [N, M]; without gradient. */
export function attentionTarget(probabilities: Tensor): Tensor {
  const heads = probabilities.shape[0] as number;
  return affine(sum(probabilities.detach(), 0), 1 / heads, 0);
}

/**
 * Mean over queries of KL(target || softmax(scores + mask)); the gradient goes to the scores.
 * @param scores [N, M]; @param target [N, M]; @param mask [N, M], 0 where a key counts and very negative elsewhere
 */
export function indexerLoss(scores: Tensor, target: Tensor, mask: Tensor): Tensor {
  const logQ = logSoftmax(add(scores, mask));
  const { arena } = scores;
  // Where p is zero the term is zero, whatever the other logarithm is.
  const logP = arena.withoutGrad(() => log(clamp(target, 1e-30, 1)));
  return mean(sum(mul(sub(logP, clamp(logQ, -1e30, 0)), target), 1));
}
