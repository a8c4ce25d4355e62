/**
 * maj@k: is the most frequent answer of k samples right? (Self-consistency, https://arxiv.org/abs/2203.11171;
 * `cons@k` in DeepSeek-R1.)
 *
 * Samples without an answer do not vote; where none votes, the group is wrong. Ties: by default each of the t tied
 * answers counts 1/t, which is what breaking ties at random gives on average, without its noise; `first` takes the
 * tied answer that was given first. With n > k samples the value is the mean over the floor(n/k) disjoint groups of k
 * in order, which is unbiased for groups drawn at random.
 */
import { check } from '@minke/core';

/** A sample's vote. */
export interface Vote {
  /** The answer in a normal form, null where none was found. */
  readonly answer: string | null;
  readonly correct: boolean;
}

/** How ties count. */
export type Ties = 'share' | 'first';

/**
 * The estimate of maj@k for one problem, in [0, 1].
 *
 * @example
 * majorityAtK([{ answer: '4', correct: true }, { answer: '5', correct: false }], 2); // 0.5: a tie
 */
export function majorityAtK(votes: readonly Vote[], k: number, ties: Ties = 'share'): number {
  check(
    Number.isSafeInteger(k) && k >= 1 && k <= votes.length,
    () => `majorityAtK: expected 1 <= k <= ${votes.length} samples, got ${k}; sample more`,
  );
  const groups = Math.floor(votes.length / k);
  let sum = 0;
  for (let g = 0; g < groups; g++) sum += majority(votes.slice(g * k, (g + 1) * k), ties);
  return sum / groups;
}

function majority(votes: readonly Vote[], ties: Ties): number {
  const counts = new Map<string, { count: number; correct: boolean }>();
  for (const { answer, correct } of votes) {
    if (answer === null) continue;
    const entry = counts.get(answer);
    if (entry === undefined) counts.set(answer, { count: 1, correct });
    else {
      check(
        entry.correct === correct,
        () =>
          `majorityAtK: expected equal answers to be judged equally, got '${answer}' both right and wrong; use a normal form`,
      );
      entry.count++;
    }
  }
  const most = Math.max(0, ...[...counts.values()].map(({ count }) => count));
  const tied = [...counts.values()].filter(({ count }) => count === most);
  if (tied.length === 0) return 0;
  if (ties === 'first') return tied[0]?.correct ? 1 : 0;
  return tied.filter(({ correct }) => correct).length / tied.length;
}
