/**
 * How the lightning indexer learns (DeepSeek-V3.2, section 2.1): KL(p || softmax(I)), p the attention's probabilities
 * summed over heads and scaled to sum to one, detached.
 *
 * Dense warm-up: over all visible tokens, everything else frozen. Sparse stage: over the selected tokens only.
 */
import {
  add,
  affine,
  clamp,
  log,
  logSoftmax,
  matmul,
  mean,
  mul,
  permute,
  softmax,
  sub,
  sum,
  type Tensor,
} from '@minke/tensor';
import { headsFirst } from '../attention.ts';

/**
 * Probabilities of attention summed over heads and scaled to one, [N, M]; without gradient.
 * @param mask [N, M], 0 where a key counts and very negative elsewhere
 */
export function attentionTarget(q: Tensor, k: Tensor, mask: Tensor, scale: number): Tensor {
  const { arena } = q;
  return arena.withoutGrad(() => {
    const heads = q.shape[1] as number;
    const scores = affine(matmul(permute(q, [1, 0, 2]), headsFirst(k, heads, q), { transB: true }), scale, 0);
    const p = softmax(add(scores, mask));
    return affine(sum(p, 0), 1 / heads, 0);
  });
}

/**
 * Mean over queries of KL(target || softmax(scores + mask)); the gradient goes to the scores.
 * @param scores [N, M]; @param target [N, M]; @param mask [N, M] as for `attentionTarget`
 */
export function indexerLoss(scores: Tensor, target: Tensor, mask: Tensor): Tensor {
  const logQ = logSoftmax(add(scores, mask));
  const { arena } = scores;
  // Where p is zero the term is zero, whatever the other logarithm is.
  const logP = arena.withoutGrad(() => log(clamp(target, 1e-30, 1)));
  return mean(sum(mul(sub(logP, clamp(logQ, -1e30, 0)), target), 1));
}
