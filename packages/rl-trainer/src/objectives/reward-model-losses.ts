/**
 * Losses of reward models: Bradley-Terry on pairs (helpfulness) and binary cross-entropy on labels (safety).
 *
 * -log sigmoid(r_c - r_r - margin), with an optional pull of the scores to zero, c (r_c + r_r)^2
 * (https://arxiv.org/abs/2312.09244); and -y log sigmoid(r) - (1 - y) log sigmoid(-r). DeepSeek-R1 trains its helpful
 * model on pairs and its safety model on labels (https://arxiv.org/abs/2501.12948v2, section 3.1).
 */
import { add, affine, mul, neg, softplus, square, sub, sum, type Tensor } from '@minke/tensor';
import { meanOf } from './statistics.ts';

export interface BradleyTerryOptions {
  /** Pairs of the whole optimiser step. */
  readonly pairs: number;
  /** By how much the chosen one should lead, [P]. */
  readonly margins?: Tensor;
  /** Weight of (r_c + r_r)^2; default 0. */
  readonly centering?: number;
}

/** Mean over the step's pairs, []: scores [P] of chosen and rejected answers at their last token. Differentiable. */
export function bradleyTerryLoss(
  chosen: Tensor,
  rejected: Tensor,
  { pairs, margins, centering = 0 }: BradleyTerryOptions,
): Tensor {
  const lead = sub(chosen, rejected);
  const ranking = softplus(neg(margins === undefined ? lead : sub(lead, margins)));
  const each = centering === 0 ? ranking : add(ranking, affine(square(add(chosen, rejected)), centering, 0));
  return affine(sum(each), 1 / pairs, 0);
}

/** Mean over the step's samples, []: scores [S], labels [S] of 1 or 0. Differentiable. */
export function pointwiseLoss(scores: Tensor, labels: Tensor, { samples }: { samples: number }): Tensor {
  // -y log s(r) - (1 - y) log s(-r) = log(1 + e^r) - y r
  return affine(sum(sub(softplus(scores), mul(labels, scores))), 1 / samples, 0);
}

export interface RewardModelMetrics {
  readonly accuracy: number;
  readonly margin: number;
  readonly min_reward: number;
  readonly mean_reward: number;
  readonly max_reward: number;
}

/** Metrics of pairs under TRL's names; a tie is not accurate. */
export function rewardModelMetrics(
  chosen: ArrayLike<number>,
  rejected: ArrayLike<number>,
): RewardModelMetrics {
  const leads = Array.from(chosen, (score, i) => score - (rejected[i] as number));
  return scoreMetrics(leads, [...Array.from(chosen), ...Array.from(rejected)]);
}

/** @param leads how far each pair or label is on the right side, above 0; @param scores all of them */
export function scoreMetrics(leads: readonly number[], scores: readonly number[]): RewardModelMetrics {
  return {
    accuracy: meanOf(leads.map((lead) => (lead > 0 ? 1 : 0))),
    margin: meanOf(leads),
    min_reward: Math.min(...scores),
    mean_reward: meanOf(scores),
    max_reward: Math.max(...scores),
  };
}
