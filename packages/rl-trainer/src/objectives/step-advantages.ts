/**
 * From the rewards of a rollout to the advantages of its tokens, as a stage's configuration says.
 */
import { check } from '@minke/core';
import { advantagesOfTokens, sampleAdvantages } from './advantages.ts';
import { normalizeThenSum, type RewardTable, sumRewards } from './rewards.ts';
import type { RlConfig } from './rl-config.ts';
import type { Score } from './statistics.ts';
import { gae, penalizedRewards, reinforcePlusPlus, tokenRewards } from './token-advantages.ts';

/** One rollout; N packed completion tokens. Groups of consecutive samples share a prompt. */
export interface RolloutRewards {
  readonly table: RewardTable;
  /** Tokens of each sample. */
  readonly lengths: readonly number[];
  /** Of the policy that sampled and of the reference, [N]; needed when `rewardBeta` is not 0. */
  readonly logProbs?: ArrayLike<number>;
  readonly refLogProbs?: ArrayLike<number>;
  /** Of the critic, [N]; gae needs them. */
  readonly values?: ArrayLike<number>;
  /** Rewards of one greedy sample of each prompt; remax needs them. */
  readonly greedyRewards?: readonly Score[];
}

export interface StepAdvantages {
  /** [N] */
  readonly advantages: Float64Array;
  /** Targets of the critic, [N]; of gae only. */
  readonly returns: Float64Array | null;
}

/** Throws `invalid-argument` when something that the configuration needs is missing. */
export function stepAdvantages(
  { table, lengths, values, greedyRewards, ...policies }: RolloutRewards,
  { advantage, rewardAggregation, rewardBeta: beta }: RlConfig,
): StepAdvantages {
  const { logProbs, refLogProbs } = policies;
  check(
    beta === 0 || (logProbs !== undefined && refLogProbs !== undefined),
    () => 'stepAdvantages: expected logProbs and refLogProbs, as rewardBeta is not 0, got none',
  );
  const kl =
    beta === 0
      ? undefined
      : { beta, logProbs: logProbs as ArrayLike<number>, refLogProbs: refLogProbs as ArrayLike<number> };
  const ofSamples = (perSample: Float64Array): StepAdvantages => ({
    advantages: advantagesOfTokens(perSample, lengths),
    returns: null,
  });
  if (rewardAggregation === 'normalize_then_sum') return ofSamples(normalizeThenSum(table));
  const rewards = sumRewards(table);
  const scored = rewards.map((reward) => reward !== null);
  if (advantage.name === 'reinforce++') {
    const perToken = tokenRewards(rewards, lengths, kl);
    const options = { gamma: advantage.gamma, scored };
    return { advantages: reinforcePlusPlus(perToken, lengths, options), returns: null };
  }
  if (advantage.name === 'gae') {
    check(values !== undefined, () => "stepAdvantages: expected the critic's values for gae, got none");
    const { gamma, lambda } = advantage;
    const options = { gamma, lambda, scored };
    return gae(tokenRewards(rewards, lengths, kl), values as ArrayLike<number>, lengths, options);
  }
  const penalized = kl === undefined ? rewards : penalizedRewards(rewards, lengths, kl);
  const { groupSize } = table;
  const context = { groupSize, lengths, ...(greedyRewards && { greedyRewards }) };
  return ofSamples(sampleAdvantages(penalized, advantage, context));
}
