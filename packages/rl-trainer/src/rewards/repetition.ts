/**
 * A penalty for repeating oneself: the share of n-grams of words that are not new.
 *
 * Demystifying Long Chain-of-Thought (https://arxiv.org/abs/2502.03373, section 3.2 and appendix), in the form of
 * open-r1's `get_repetition_penalty_reward`: (1 - unique / all) times a penalty of at most 0. Words are what stands
 * between white space, in lower case. Texts of fewer than n words repeat nothing and score 0.
 */
import { check } from '@minke/core';
import { perCompletion, type Reward } from './reward.ts';

/** The size of the n-grams and of the penalty. */
export interface RepetitionOptions {
  /** Words in an n-gram. Default 3. */
  readonly n?: number;
  /** The score of a text of one endlessly repeated n-gram, at most 0. Default -1. */
  readonly maxPenalty?: number;
}

/**
 * The share of n-grams of words that occurred before, in [0, 1).
 *
 * @example
 * repetitionRate('a b a b a b', 2); // 0.6: 5 bigrams, 2 different
 */
export function repetitionRate(text: string, n: number): number {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const all = words.length - n + 1;
  if (all <= 0) return 0;
  const seen = new Set<string>();
  for (let i = 0; i < all; i++) seen.add(words.slice(i, i + n).join(' '));
  return (all - seen.size) / all;
}

/** The repetition rate of the whole completion times `maxPenalty`. */
export function repetitionReward(options: RepetitionOptions = {}): Reward {
  const { n = 3, maxPenalty = -1 } = options;
  check(
    Number.isSafeInteger(n) && n >= 1,
    () => `repetitionReward: expected n >= 1, got ${n}; pass the words in an n-gram`,
  );
  check(
    maxPenalty <= 0 && Number.isFinite(maxPenalty),
    () => `repetitionReward: expected maxPenalty <= 0, got ${maxPenalty}; a penalty is not positive`,
  );
  return perCompletion(({ completion }) => {
    const rate = repetitionRate(completion, n);
    return rate === 0 ? 0 : rate * maxPenalty;
  });
}
