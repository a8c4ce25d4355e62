/**
 * The whole objective of a policy update: token losses, corrections, KL to the reference, entropy, aggregation.
 *
 * loss = aggregate(w m L + beta KL) - c H, with L of `policy-losses.ts`, w and m of `corrections.ts`, KL of `kl.ts`
 * and H the mean entropy over the tokens of the step. The order of terms is that of TRL's GRPO trainer.
 */
import { check } from '@minke/core';
import { add, affine, mul, sub, sum, type Tensor } from '@minke/tensor';
import { type Aggregation, aggregate, type StepTotals } from './aggregate.ts';
import { correctionWeights, offPolicyMask, type SamplingCorrection } from './corrections.ts';
import { type KlEstimator, tokenKl } from './kl.ts';
import { type PolicyLoss, type PolicyTensors, tokenPolicyLoss } from './policy-losses.ts';
import { importanceRatio } from './ratio.ts';

export interface PolicyObjective {
  readonly loss: PolicyLoss;
  readonly aggregation: Aggregation;
  /** Weight of the KL in the loss; 0 needs no reference. DeepSeek-R1: 0.001. */
  readonly beta: number;
  /** Which estimate of the KL. GRPO: k3. */
  readonly klEstimator: KlEstimator;
  /** Multiply the KL by the importance ratio, so that its gradient is unbiased (DeepSeek-V3.2). */
  readonly klRatioCorrection: boolean;
  /** For samples of another engine; null for our own, whose log-probabilities are the trainer's. */
  readonly correction: SamplingCorrection | null;
  /** Drops sequences of negative advantage farther off-policy than this, nats a token; null for never. */
  readonly offPolicyThreshold: number | null;
  /** Weight of the entropy bonus; 0 for none. */
  readonly entropyCoefficient: number;
}

export interface PolicyObjectiveTensors extends Omit<PolicyTensors, 'oldLogProbs'> {
  /** Default: the policy itself, as in the first update after a rollout. */
  readonly oldLogProbs?: Tensor | undefined;
  /** Needed when beta is not 0. */
  readonly refLogProbs?: Tensor | undefined;
  /** Of the engine that sampled; default: the old policy's. */
  readonly samplingLogProbs?: Tensor | undefined;
  /** Differentiable, needed when the entropy coefficient is not 0. */
  readonly entropies?: Tensor | undefined;
}

/**
 * The loss of one micro-batch, [], to be summed over the micro-batches of the step.
 * Throws `invalid-argument` when a tensor that the objective needs is missing.
 *
 * @example
 * policyObjective({ segments, logProbs, advantages }, presets.dapo.objective, totals).backward();
 */
export function policyObjective(
  batch: PolicyObjectiveTensors,
  objective: PolicyObjective,
  totals: StepTotals,
): Tensor {
  const { segments, logProbs, advantages, refLogProbs, entropies } = batch;
  const oldLogProbs = batch.oldLogProbs ?? logProbs.detach();
  const samplingLogProbs = batch.samplingLogProbs ?? oldLogProbs;
  let perToken = tokenPolicyLoss(objective.loss, { segments, logProbs, oldLogProbs, advantages });
  if (objective.offPolicyThreshold !== null) {
    const { offPolicyThreshold } = objective;
    perToken = mul(
      perToken,
      offPolicyMask(logProbs, samplingLogProbs, advantages, segments, offPolicyThreshold),
    );
  }
  if (objective.correction !== null)
    perToken = mul(
      perToken,
      correctionWeights(oldLogProbs, samplingLogProbs, segments, objective.correction),
    );
  if (objective.beta !== 0) {
    check(
      refLogProbs !== undefined,
      () => 'policyObjective: expected refLogProbs, as beta is not 0, got none',
    );
    let kl = tokenKl(logProbs, refLogProbs as Tensor, objective.klEstimator);
    if (objective.klRatioCorrection) {
      const level = 'ratio' in objective.loss ? objective.loss.ratio : 'token';
      kl = mul(kl, importanceRatio(logProbs, oldLogProbs, segments, level));
    }
    perToken = add(perToken, affine(kl, objective.beta, 0));
  }
  const loss = aggregate(perToken, segments, objective.aggregation, totals);
  if (objective.entropyCoefficient === 0) return loss;
  check(
    entropies !== undefined,
    () => 'policyObjective: expected entropies, as entropyCoefficient is not 0, got none',
  );
  const bonus = objective.entropyCoefficient / Math.max(totals.tokens, 1);
  return sub(loss, affine(sum(entropies as Tensor), bonus, 0));
}
