/**
 * Distillation: a student learns a teacher's distribution of the next token.
 *
 * Off-policy, on the teacher's samples: cross-entropy on the tokens (DeepSeek-R1's distillation is supervised
 * fine-tuning), or the forward KL(teacher || student) where the teacher's distributions are known. On-policy, on the
 * student's own samples: the reverse KL(student || teacher) over the full vocabulary
 * (https://arxiv.org/abs/2306.13649; DeepSeek-V4 trains with it). Between the two, the generalised Jensen-Shannon
 * divergence with beta in (0, 1): beta KL(teacher || m) + (1 - beta) KL(student || m), m = beta teacher + (1 - beta)
 * student. Both distributions at one temperature.
 */
import { check } from '@minke/core';
import { add, affine, exp, log, logSoftmax, maximum, mul, sub, sum, type Tensor } from '@minke/tensor';

/** Stands for log 0, so that 0 x log 0 is 0. */
const LOG_OF_NOTHING = -1e4;

const logDistribution = (logits: Tensor, temperature: number): Tensor =>
  maximum(logSoftmax(temperature === 1 ? logits : affine(logits, 1 / temperature, 0)), LOG_OF_NOTHING);

/**
 * Divergence of each row, [N], in nats.
 * @param student logits [N, V], differentiable; @param teacher logits or log-probabilities [N, V], constant
 * @param beta 0 forward KL, 1 reverse KL, between them Jensen-Shannon
 */
export function distillationLoss(
  student: Tensor,
  teacher: Tensor,
  { beta, temperature = 1 }: { readonly beta: number; readonly temperature?: number },
): Tensor {
  check(beta >= 0 && beta <= 1, () => `distillationLoss: expected beta from 0 to 1, got ${beta}`);
  const logQ = logDistribution(student, temperature);
  const logP = logDistribution(teacher.detach(), temperature);
  if (beta === 0) return kl(logP, logQ);
  if (beta === 1) return kl(logQ, logP);
  const logM = log(add(affine(exp(logP), beta, 0), affine(exp(logQ), 1 - beta, 0)));
  return add(affine(kl(logP, logM), beta, 0), affine(kl(logQ, logM), 1 - beta, 0));
}

/** KL(p || q) of each row from log-probabilities. */
const kl = (logP: Tensor, logQ: Tensor): Tensor => sum(mul(exp(logP), sub(logP, logQ)), -1);
