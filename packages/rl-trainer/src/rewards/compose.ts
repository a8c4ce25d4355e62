/**
 * Several rewards as one: a weighted sum of named terms, with every term's scores kept for the log.
 *
 * R1 adds accuracy, format and language consistency (DeepSeek-R1, https://arxiv.org/abs/2501.12948, sections 2.2.2
 * and 2.3.2); weights here scale the terms, nothing is normalised. A term of weight 0 is logged and changes nothing.
 * What a null does to the sum is said for each term: `drop` (default) makes the total null, so that the completion
 * leaves the batch; `skip` leaves the term out, for rewards that do not apply to every prompt. A total without any
 * judged term is null. TRL's sum skips nulls always, which turns an unparsable gold answer into a format-only reward.
 */
import { MinkeError } from '@minke/core';
import { type Columns, checkScores, type Reward, type RewardInput, type Score } from './reward.ts';

/** One term of a sum of rewards. */
export interface RewardTerm {
  /** Name of the column in logs: letters, digits, `_`, `-`. */
  readonly name: string;
  readonly reward: Reward;
  /** Finite factor. Default 1. */
  readonly weight?: number;
  /** What a null score does to the total. Default `drop`. */
  readonly ifNull?: 'drop' | 'skip';
  /** A second name of its mean in logs, for example `language/consistency`. */
  readonly metric?: string;
}

/** The rewards of one group. */
export interface ScoredGroup {
  /** The weighted sum for each completion; null where the completion must not be learnt from. */
  readonly totals: readonly Score[];
  /** Unweighted scores of each term, by name. */
  readonly columns: Columns;
}

/**
 * Makes one scorer of several rewards. Terms run in order; each sees the columns before it.
 *
 * @throws MinkeError `invalid-config` listing every problem of the terms; a reward's own error with the term's name
 * @example
 * const score = composeRewards([
 *   { name: 'accuracy', reward: accuracyReward(mathVerifier()) },
 *   { name: 'format', reward: formatReward(), weight: 0.5 },
 * ]);
 * const { totals, columns } = await score(group);
 */
export function composeRewards(
  terms: readonly RewardTerm[],
): (group: readonly RewardInput[]) => Promise<ScoredGroup> {
  const problems = termProblems(terms);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `composeRewards: ${problems.join('; ')}`, {
      details: { problems },
    });
  return async (group) => {
    const columns: Record<string, readonly Score[]> = {};
    const totals: Score[] = group.map(() => null);
    const dropped = group.map(() => false);
    for (const { name, reward, weight = 1, ifNull = 'drop' } of terms) {
      const scores = await scoresOf(name, reward, group, columns);
      columns[name] = scores;
      if (weight === 0) continue;
      for (const [i, score] of scores.entries())
        if (score !== null) totals[i] = (totals[i] ?? 0) + weight * score;
        else if (ifNull === 'drop') dropped[i] = true;
    }
    return { totals: totals.map((total, i) => (dropped[i] ? null : total)), columns };
  };
}

async function scoresOf(
  name: string,
  reward: Reward,
  group: readonly RewardInput[],
  earlier: Columns,
): Promise<readonly Score[]> {
  let scores: readonly Score[];
  try {
    scores = await reward(group, { ...earlier });
  } catch (cause) {
    if (MinkeError.isInstance(cause))
      throw new MinkeError(cause.code, `reward '${name}': ${cause.message}`, {
        cause,
        details: cause.details,
      });
    throw new MinkeError('internal', `reward '${name}': expected scores, got an exception: ${cause}`, {
      cause,
    });
  }
  checkScores(`reward '${name}'`, scores, group.length);
  return scores;
}

function termProblems(terms: readonly RewardTerm[]): string[] {
  const problems: string[] = [];
  if (terms.length === 0) problems.push('expected at least one term, got none; pass a reward');
  const seen = new Set<string>();
  for (const [i, { name, reward, weight = 1, ifNull = 'drop' }] of terms.entries()) {
    if (!/^[\w-]+$/.test(name) || name === '__proto__')
      problems.push(`term ${i}: expected a name of letters, digits, _ and -, got ${JSON.stringify(name)}`);
    if (seen.has(name)) problems.push(`term ${i}: expected a name used once, got '${name}' again; rename it`);
    seen.add(name);
    if (typeof reward !== 'function')
      problems.push(
        `term ${i} (${name}): expected reward to be a function, got ${typeof reward}; call the factory first`,
      );
    if (!Number.isFinite(weight))
      problems.push(`term ${i} (${name}): expected a finite weight, got ${weight}`);
    if (ifNull !== 'drop' && ifNull !== 'skip')
      problems.push(`term ${i} (${name}): expected ifNull 'drop' or 'skip', got ${JSON.stringify(ifNull)}`);
  }
  return problems;
}
