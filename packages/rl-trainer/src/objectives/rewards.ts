/**
 * Several rewards of each sample to one.
 *
 * A reward is null where it could not judge; a sample for which all are null has no reward. `sum_then_normalize`
 * sums weighted rewards and leaves normalising to the advantage; `normalize_then_sum` normalises each reward in its
 * group, sums, and normalises over the batch (GDPO, https://arxiv.org/abs/2601.05242), so that a small bonus is not
 * drowned by a reward of larger scale.
 */
import { check } from '@minke/core';
import { allEqual, meanOf, type Score, scored, stdOf } from './statistics.ts';

/** rewards[r][i]: what reward r gave sample i. Groups of `groupSize` consecutive samples share a prompt. */
export interface RewardTable {
  readonly names: readonly string[];
  readonly rewards: readonly (readonly Score[])[];
  /** Factor of each reward; default: all 1. */
  readonly weights?: readonly number[];
  readonly groupSize: number;
}

/** Weighted sum for each sample, null where no reward could judge. */
export function sumRewards(table: RewardTable): Score[] {
  const weights = checked('sumRewards', table);
  return samples(table).map((row) => weightedSum(row, weights));
}

/** The advantages of `normalize_then_sum`, one a sample; 0 where no reward could judge. */
export function normalizeThenSum(table: RewardTable, epsilon = 1e-4): Float64Array {
  const weights = checked('normalizeThenSum', table);
  const { groupSize } = table;
  const normalized = table.rewards.map((column) =>
    groupsOf(column, groupSize).flatMap((group) => {
      const values = scored(group);
      // One scored sample has no spread to be normalised by; TRL drops it too.
      if (values.length === 1 && groupSize > 1) return group.map(() => null);
      const [mean, std] = [meanOf(values), stdOf(values)];
      return group.map((score) =>
        score === null ? null : allEqual(values) ? 0 : (score - mean) / (std + epsilon),
      );
    }),
  );
  const judged = samples(table).map((row) => row.some((score) => score !== null));
  const sums = samples({ ...table, rewards: normalized }).map((row, i) =>
    judged[i] ? (weightedSum(row, weights) ?? 0) : null,
  );
  const values = scored(sums);
  const [mean, std] = [meanOf(values), stdOf(values)];
  return Float64Array.from(sums, (sum) =>
    sum === null || allEqual(values) ? 0 : (sum - mean) / (std + epsilon),
  );
}

/** Consecutive groups of equal size. Throws `invalid-argument` when the samples do not fill them. */
export function groupsOf<T>(values: readonly T[], groupSize: number): T[][] {
  check(
    Number.isSafeInteger(groupSize) && groupSize >= 1 && values.length % groupSize === 0,
    () => `groupsOf: expected whole groups of ${groupSize}, got ${values.length} samples`,
  );
  return Array.from({ length: values.length / groupSize }, (_, g) =>
    values.slice(g * groupSize, (g + 1) * groupSize),
  );
}

const samples = ({ rewards }: RewardTable): Score[][] =>
  (rewards[0] as readonly Score[]).map((_, i) => rewards.map((column) => column[i] as Score));

function weightedSum(row: readonly Score[], weights: readonly number[]): Score {
  if (row.every((score) => score === null)) return null;
  return row.reduce<number>((sum, score, r) => sum + (score ?? 0) * (weights[r] as number), 0);
}

function checked(where: string, { names, rewards, weights }: RewardTable): readonly number[] {
  const count = rewards[0]?.length ?? 0;
  check(
    rewards.length > 0 && names.length === rewards.length && rewards.every(({ length }) => length === count),
    () =>
      `${where}: expected one column of equal length for each of [${names.join(', ')}], got columns of [${rewards.map(({ length }) => length).join(', ')}]`,
  );
  check(
    rewards.every((column) => column.every((score) => score === null || Number.isFinite(score))),
    () =>
      `${where}: expected finite rewards or null, got another value; return null where a reward cannot judge`,
  );
  check(
    weights === undefined || weights.length === rewards.length,
    () => `${where}: expected ${rewards.length} weights, got ${weights?.length}`,
  );
  return weights ?? rewards.map(() => 1);
}
