/**
 * Learning from preferences without a reward model: DPO and its variants on pairs, KTO on single judgements.
 *
 * With c = l_c - lref_c and r = l_r - lref_r, sums over a completion, h = beta (c - r):
 * sigmoid   -(1 - s) log sigmoid(h) - s log sigmoid(-h), s the label smoothing; https://arxiv.org/abs/2305.18290
 * ipo       (c / n_c - r / n_r - 1 / (2 beta))^2, https://arxiv.org/abs/2310.12036, lengths divided out as in TRL
 * robust    ((1 - s) -log sigmoid(h) + s log sigmoid(-h)) / (1 - 2 s), https://arxiv.org/abs/2403.00409
 * KTO       w_d (1 - sigmoid(beta (c - z))) and w_u (1 - sigmoid(beta (z - r))), z the KL of the batch, no gradient;
 *           https://arxiv.org/abs/2402.01306
 */
import { check } from '@minke/core';
import { add, affine, div, mul, neg, sigmoid, softplus, square, sub, sum, type Tensor } from '@minke/tensor';
import { meanOf } from './statistics.ts';

export interface DpoConfig {
  readonly name: 'sigmoid' | 'ipo' | 'robust';
  /** Strength of the pull to the reference, above 0; usually 0.1. */
  readonly beta: number;
  /** Share of labels thought wrong, in [0, 0.5); not used by ipo. */
  readonly labelSmoothing: number;
}

/** Log-probabilities of whole completions, [P] each; the reference's are constant. */
export interface PreferenceTensors {
  readonly chosen: Tensor;
  readonly rejected: Tensor;
  readonly refChosen: Tensor;
  readonly refRejected: Tensor;
  /** Tokens of each completion, [P]; ipo needs them. */
  readonly chosenLengths?: Tensor;
  readonly rejectedLengths?: Tensor;
}

/** Mean over the step's pairs, []. Differentiable by `chosen` and `rejected`. */
export function dpoLoss(
  batch: PreferenceTensors,
  { name, beta, labelSmoothing }: DpoConfig,
  { pairs }: { pairs: number },
): Tensor {
  const chosen = sub(batch.chosen, batch.refChosen);
  const rejected = sub(batch.rejected, batch.refRejected);
  const mean = (each: Tensor) => affine(sum(each), 1 / pairs, 0);
  if (name === 'ipo') {
    const { chosenLengths, rejectedLengths } = batch;
    check(
      chosenLengths !== undefined && rejectedLengths !== undefined,
      () => 'dpoLoss: expected the lengths of both completions for ipo, got none',
    );
    const lead = sub(div(chosen, chosenLengths as Tensor), div(rejected, rejectedLengths as Tensor));
    return mean(square(add(lead, -1 / (2 * beta))));
  }
  const h = affine(sub(chosen, rejected), beta, 0);
  const right = affine(softplus(neg(h)), 1 - labelSmoothing, 0);
  if (labelSmoothing === 0) return mean(right);
  const wrong = affine(softplus(h), labelSmoothing, 0);
  if (name === 'sigmoid') return mean(add(right, wrong));
  return affine(mean(sub(right, wrong)), 1 / (1 - 2 * labelSmoothing), 0);
}

export interface KtoConfig {
  readonly beta: number;
  /** Weights of desirable and undesirable completions; 1 where their numbers are equal. */
  readonly desirableWeight: number;
  readonly undesirableWeight: number;
}

/**
 * Mean over the step's samples, [].
 * @param logRatios l - lref of whole completions, [S], differentiable; @param labels 1 desirable, 0 not, [S]
 * @param kl max(0, mean of l - lref over mismatched pairs), one element, constant
 */
export function ktoLoss(
  logRatios: Tensor,
  labels: Tensor,
  kl: Tensor,
  { beta, desirableWeight, undesirableWeight }: KtoConfig,
  { samples }: { samples: number },
): Tensor {
  const sign = affine(labels, 2, -1);
  const weight = affine(labels, desirableWeight - undesirableWeight, undesirableWeight);
  const gain = sigmoid(affine(mul(sub(logRatios, kl.detach()), sign), beta, 0));
  return affine(sum(mul(affine(gain, -1, 1), weight)), 1 / samples, 0);
}

export interface PreferenceMetrics {
  readonly 'rewards/chosen': number;
  readonly 'rewards/rejected': number;
  readonly 'rewards/margins': number;
  readonly 'rewards/accuracies': number;
  readonly 'logps/chosen': number;
  readonly 'logps/rejected': number;
}

/** DPO's implicit rewards beta (l - lref) and log-probabilities, under TRL's names; host numbers [P]. */
export function preferenceMetrics(
  chosen: ArrayLike<number>,
  rejected: ArrayLike<number>,
  refChosen: ArrayLike<number>,
  refRejected: ArrayLike<number>,
  beta: number,
): PreferenceMetrics {
  const [good, bad] = [
    Array.from(chosen, (l, i) => beta * (l - (refChosen[i] as number))),
    Array.from(rejected, (l, i) => beta * (l - (refRejected[i] as number))),
  ];
  const leads = good.map((reward, i) => reward - (bad[i] as number));
  return {
    'rewards/chosen': meanOf(good),
    'rewards/rejected': meanOf(bad),
    'rewards/margins': meanOf(leads),
    'rewards/accuracies': meanOf(leads.map((lead) => (lead > 0 ? 1 : 0))),
    'logps/chosen': meanOf(Array.from(chosen)),
    'logps/rejected': meanOf(Array.from(rejected)),
  };
}
