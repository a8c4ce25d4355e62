/**
 * What a reward is: a function from the group of completions of one prompt to one score each.
 *
 * Whole groups, because some rewards compare completions with each other (Kimi's length reward, model scores in
 * batches); `perCompletion` makes one from a function of a single completion. A score of null means "could not
 * judge" and is never 0: a wrong answer scores 0, an answer to a question without a usable gold answer scores null.
 */
import { check, MinkeError } from '@minke/core';
import type { Score } from '../objectives/statistics.ts';
import type { EpisodeOutcome } from './episode-outcome.ts';

/** A completion and what rewards may know about it. Plain data, made by whoever sampled it. */
export interface RewardInput {
  readonly prompt: string;
  /**
   * What the model wrote, its thought included, without the end-of-sequence token. With an environment only the model's
   * turns, a line break between them: what the environment wrote is nobody's merit.
   */
  readonly completion: string;
  /** Length in tokens that the model wrote, the end-of-sequence token included. */
  readonly length: number;
  /** The gold answer; null or absent where there is none. */
  readonly answer?: string | null;
  /** The language the thought should be in, a key of the reward's word sets. */
  readonly language?: string;
  /** What kind of prompt it is, for rewards that apply to some: `math`, `code`, `general` ... */
  readonly domain?: string;
  /** Whatever else a reward of yours needs: tests, facts, a rubric. */
  readonly metadata?: unknown;
  /** How its episode went, where there is an environment. */
  readonly episode?: EpisodeOutcome;
}

/** A score, or null where it cannot be given. */
export type { Score };

/** The scores of earlier terms of the same group, by name. */
export type Columns = Readonly<Record<string, readonly Score[]>>;

/** Scores the completions of one prompt, in their order. */
export type Reward = (
  group: readonly RewardInput[],
  earlier: Columns,
) => readonly Score[] | Promise<readonly Score[]>;

/**
 * A reward that judges each completion by itself.
 *
 * @example
 * const short = perCompletion(({ length }) => (length < 100 ? 1 : 0));
 */
export function perCompletion(judge: (input: RewardInput) => Score | Promise<Score>): Reward {
  return (group) => Promise.all(group.map((input) => judge(input)));
}

/** The reward where `applies` holds, null elsewhere; the reward sees only the completions it applies to. */
export function onlyWhere(applies: (input: RewardInput) => boolean, reward: Reward): Reward {
  return async (group, earlier) => {
    const kept = group.flatMap((input, i) => (applies(input) ? [i] : []));
    const scores: Score[] = group.map(() => null);
    if (kept.length === 0) return scores;
    const columns = Object.fromEntries(
      Object.entries(earlier).map(([name, column]) => [name, kept.map((i) => column[i] as Score)]),
    );
    const found = await reward(
      kept.map((i) => group[i] as RewardInput),
      columns,
    );
    checkScores('onlyWhere', found, kept.length);
    for (const [at, i] of kept.entries()) scores[i] = found[at] as Score;
    return scores;
  };
}

/** A column of an earlier term. @throws MinkeError `invalid-config` naming the terms there are. */
export function column(where: string, earlier: Columns, name: string): readonly Score[] {
  const found = Object.hasOwn(earlier, name) ? earlier[name] : undefined;
  if (found === undefined)
    throw new MinkeError(
      'invalid-config',
      `${where}: expected a term '${name}' before it, got ${Object.keys(earlier).join(', ') || 'none'}; put it first`,
    );
  return found;
}

/** Throws unless there is a finite number or null for every completion. */
export function checkScores(where: string, scores: readonly Score[], expected: number): void {
  check(
    Array.isArray(scores) && scores.length === expected,
    () =>
      `${where}: expected ${expected} scores, got ${Array.isArray(scores) ? scores.length : typeof scores}; return one for each completion`,
  );
  for (const [i, score] of scores.entries())
    check(
      score === null || Number.isFinite(score),
      () =>
        `${where}: expected a finite score or null for completion ${i}, got ${score}; null means "could not judge"`,
    );
}
