/**
 * How much better a sample was than expected, from rewards of whole samples, in float64 on the host.
 *
 * R is the reward of a sample, mean and std those of its group (std with Bessel's correction).
 *
 * grpo        (R - mean) / (std + epsilon), https://arxiv.org/abs/2402.03300, section 4.1; scale `batch` takes the std of
 *             the whole batch (https://arxiv.org/abs/2508.08221), `none` divides by nothing (Dr. GRPO, 2503.20783)
 * rloo        R - mean of the others, https://arxiv.org/abs/2402.14740
 * reinforce++-baseline   R - mean, whitened over the tokens of the batch, https://arxiv.org/abs/2501.03262
 * remax       R - reward of the greedy sample of the same prompt, https://arxiv.org/abs/2310.10505
 * maxrl       (R - mean) / mean, for rewards of at least 0: rare successes weigh more
 *
 * A sample without reward (null) counts in no mean and gets 0, and so does a group with one scored sample; equal
 * rewards give exactly 0. Estimators over tokens are in `token-advantages.ts`.
 */
import { check, MinkeError } from '@minke/core';
import { groupsOf } from './rewards.ts';
import { allEqual, meanOf, type Score, scored, stdOf } from './statistics.ts';

export type AdvantageConfig =
  | {
      readonly name: 'grpo';
      readonly scale: 'group' | 'batch' | 'none';
      /** Added to the standard deviation; 1e-4 in TRL. */
      readonly epsilon: number;
    }
  | {
      readonly name: 'rloo';
      /** Whiten over the batch afterwards. */
      readonly normalize: boolean;
      readonly epsilon: number;
    }
  | { readonly name: 'reinforce++-baseline' }
  | { readonly name: 'remax' }
  | { readonly name: 'maxrl' };

/** What the estimators need beside the rewards. */
export interface AdvantageContext {
  /** Samples of each prompt, which follow each other; G. */
  readonly groupSize: number;
  /** remax: reward of the greedy sample of each group. */
  readonly greedyRewards?: readonly Score[];
  /** reinforce++-baseline: tokens of each sample. */
  readonly lengths?: readonly number[];
}

/**
 * One advantage for each sample. Throws `invalid-argument` when G is 1 and the estimator compares samples of a group.
 *
 * @example
 * sampleAdvantages([1, 0, 0, 1], { name: 'grpo', scale: 'group', epsilon: 1e-4 }, { groupSize: 4 });
 */
export function sampleAdvantages(
  rewards: readonly Score[],
  config: AdvantageConfig,
  context: AdvantageContext,
): Float64Array {
  const { groupSize } = context;
  check(
    groupSize > 1 || config.name === 'remax',
    () =>
      `sampleAdvantages: expected groups of 2 or more for ${config.name}, which compares samples of one prompt, got 1; raise groupSize, or use remax, reinforce++ or gae`,
  );
  const groups = groupsOf(rewards, groupSize);
  switch (config.name) {
    case 'grpo': {
      const std = config.scale === 'batch' ? stdOf(scored(rewards)) : 0;
      return perGroup(groups, (score, mean, values) => {
        const lead = score - mean;
        if (config.scale === 'none') return lead;
        return lead / ((config.scale === 'batch' ? std : stdOf(values)) + config.epsilon);
      });
    }
    case 'rloo': {
      const values = perGroup(groups, (score, mean, { length }) => ((score - mean) * length) / (length - 1));
      return config.normalize ? standardized(values, comparable(groups), config.epsilon) : values;
    }
    case 'reinforce++-baseline': {
      const { lengths } = context;
      check(
        lengths?.length === rewards.length,
        () =>
          `sampleAdvantages: expected the token counts of ${rewards.length} samples, got ${lengths?.length ?? 'none'}`,
      );
      const counted = (lengths as readonly number[]).map((n, i) => (rewards[i] === null ? 0 : n));
      return whitened(
        perGroup(groups, (score, mean) => score - mean),
        counted,
      );
    }
    case 'remax': {
      const { greedyRewards } = context;
      check(
        greedyRewards?.length === groups.length,
        () =>
          `sampleAdvantages: expected greedy rewards of ${groups.length} prompts, got ${greedyRewards?.length ?? 'none'}`,
      );
      return Float64Array.from(rewards, (score, i) => {
        const baseline = (greedyRewards as readonly Score[])[Math.floor(i / groupSize)] ?? null;
        return score === null || baseline === null ? 0 : score - baseline;
      });
    }
    case 'maxrl':
      check(
        scored(rewards).every((score) => score >= 0),
        () => 'sampleAdvantages: expected rewards of at least 0 for maxrl, got a negative one',
      );
      return perGroup(groups, (score, mean) => (score - mean) / mean);
    default:
      throw new MinkeError(
        'invalid-config',
        `sampleAdvantages: expected grpo, rloo, reinforce++-baseline, remax or maxrl, got ${(config as { name: unknown }).name}`,
      );
  }
}

/** 0 for null scores and in groups whose scores are all equal. */
function perGroup(
  groups: readonly (readonly Score[])[],
  advantage: (score: number, mean: number, values: readonly number[]) => number,
): Float64Array {
  return Float64Array.from(
    groups.flatMap((group) => {
      const values = scored(group);
      const mean = meanOf(values);
      return group.map((score) => (score === null || allEqual(values) ? 0 : advantage(score, mean, values)));
    }),
  );
}

/** Whether each sample has a score and at least one other of its group has. */
const comparable = (groups: readonly (readonly Score[])[]): boolean[] =>
  groups.flatMap((group) => group.map((score) => score !== null && scored(group).length > 1));

function standardized(values: Float64Array, counts: readonly boolean[], epsilon: number): Float64Array {
  const counted = Array.from(values).filter((_, i) => counts[i]);
  if (allEqual(counted)) return new Float64Array(values.length);
  const [mean, std] = [meanOf(counted), stdOf(counted)];
  return values.map((value, i) => (counts[i] ? (value - mean) / (std + epsilon) : 0));
}

/** Below the variance when whitening, as in verl. */
const WHITEN_EPSILON = 1e-8;

/**
 * (x - mean) / sqrt(variance + 1e-8), the variance with Bessel's correction; each value counts `weights` times, and
 * those of weight 0 become 0.
 */
export function whitened(values: Float64Array, weights?: readonly number[]): Float64Array {
  const weight = (i: number) => weights?.[i] ?? 1;
  let count = 0;
  let sum = 0;
  values.forEach((value, i) => {
    count += weight(i);
    sum += weight(i) * value;
  });
  const mean = count > 0 ? sum / count : 0;
  const squares = values.reduce((total, value, i) => total + weight(i) * (value - mean) ** 2, 0);
  const scale = 1 / Math.sqrt((count > 1 ? squares / (count - 1) : 0) + WHITEN_EPSILON);
  const flat = allEqual(Array.from(values).filter((_, i) => weight(i) > 0));
  return values.map((value, i) => (flat || weight(i) === 0 ? 0 : (value - mean) * scale));
}

/** Advantages of samples repeated for their tokens: one entry a packed token. */
export function advantagesOfTokens(perSample: ArrayLike<number>, lengths: readonly number[]): Float64Array {
  return Float64Array.from(lengths.flatMap((n, i) => new Array<number>(n).fill(perSample[i] as number)));
}
