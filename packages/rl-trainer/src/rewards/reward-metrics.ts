/**
 * What the rewards of a step were, under TRL's names, over all of its groups.
 *
 * Means and standard deviations are those of judged completions, the latter with Bessel's correction as in TRL; null
 * where nothing was judged. Ours beside TRL's: `rewards/{name}/null_rate`.
 */
import { allEqual, meanOf, scored, stdOf } from '../objectives/statistics.ts';
import type { RewardTerm, ScoredGroup } from './compose.ts';
import type { Score } from './reward.ts';

export interface RewardMetrics {
  /** Mean total of the completions that have one. */
  readonly reward: number | null;
  /** Standard deviation of it over the batch. */
  readonly reward_std: number | null;
  /** Share of groups whose totals are all equal, which teach nothing; groups with one judged completion too. */
  readonly frac_reward_zero_std: number;
  /** `rewards/{name}/mean`, `rewards/{name}/std` and `rewards/{name}/null_rate`, and the second names of terms. */
  readonly [name: string]: number | null;
}

/**
 * @param terms whose `metric` names the mean a second time
 * @example
 * const metrics = rewardMetrics([await score(group)]);
 */
export function rewardMetrics(
  groups: readonly ScoredGroup[],
  terms: readonly RewardTerm[] = [],
): RewardMetrics {
  const columns = new Map<string, Score[]>();
  for (const group of groups)
    for (const [name, scores] of Object.entries(group.columns))
      columns.set(name, [...(columns.get(name) ?? []), ...scores]);
  const each: Record<string, number | null> = {};
  for (const [name, scores] of columns) {
    const { mean, std } = spreadOf(scores);
    each[`rewards/${name}/mean`] = mean;
    each[`rewards/${name}/std`] = std;
    each[`rewards/${name}/null_rate`] = 1 - scored(scores).length / scores.length;
    const { metric } = terms.find((term) => term.name === name) ?? {};
    if (metric !== undefined) each[metric] = mean;
  }
  const { mean: reward, std: reward_std } = spreadOf(groups.flatMap(({ totals }) => totals));
  const flat = groups.map(({ totals }) => (allEqual(scored(totals)) ? 1 : 0));
  return { reward, reward_std, frac_reward_zero_std: meanOf(flat), ...each };
}

function spreadOf(scores: readonly Score[]): { mean: number | null; std: number | null } {
  const judged = scored(scores);
  return judged.length === 0 ? { mean: null, std: null } : { mean: meanOf(judged), std: stdOf(judged) };
}
