/**
 * Rewards that depend on length in tokens.
 *
 * - Kimi k1.5 (https://arxiv.org/abs/2501.12599, section 2.3.3): within a group, shorter is better.
 * - Cosine (Demystifying Long Chain-of-Thought, https://arxiv.org/abs/2502.03373, section 3): short right answers are
 *   best, short wrong ones worst. Beyond the maximum the share is clamped to 1; open-r1's curve turns back there.
 * - Soft overlong punishment (DAPO, https://arxiv.org/abs/2503.14476, equation 13): from 0 to -1 over the last tokens.
 *
 * The first two need to know what is right: they read the column of an accuracy term that stands before them, and
 * give null where accuracy does (open-r1 takes an unreadable gold answer for a right one).
 */
import { check } from '@minke/core';
import { column, perCompletion, type Reward, type Score } from './reward.ts';

/** Which term says what is right. */
export interface CorrectnessOptions {
  /** Name of the accuracy term before this one. Default `accuracy`. */
  readonly accuracy?: string;
  /** Scores of at least this are right. Default 1. */
  readonly threshold?: number;
}

/**
 * lambda = 0.5 - (L - min) / (max - min) over the judged completions of the group: right ones get lambda, wrong ones
 * min(0, lambda), all 0 where all lengths are equal.
 */
export function kimiLengthReward(options: CorrectnessOptions = {}): Reward {
  const { accuracy = 'accuracy', threshold = 1 } = options;
  return (group, earlier) => {
    const right = column('kimiLengthReward', earlier, accuracy);
    const lengths = group.flatMap(({ length }, i) => (right[i] === null ? [] : [length]));
    const shortest = lengths.reduce((low, length) => Math.min(low, length), Number.POSITIVE_INFINITY);
    const longest = lengths.reduce((high, length) => Math.max(high, length), Number.NEGATIVE_INFINITY);
    return group.map(({ length }, i): Score => {
      const score = right[i] as Score;
      if (score === null) return null;
      if (shortest === longest) return 0;
      const lambda = 0.5 - (length - shortest) / (longest - shortest);
      return score >= threshold ? lambda : Math.min(0, lambda);
    });
  };
}

/** The ends of the cosine curves. */
export interface CosineLengthOptions extends CorrectnessOptions {
  /** Length in tokens at which the curve ends. */
  readonly maxLength: number;
  /** A right answer at length 0. Default 1. */
  readonly rightShort?: number;
  /** A right answer at `maxLength` and beyond. Default 0.5. */
  readonly rightLong?: number;
  /** A wrong answer at length 0. Default -1. */
  readonly wrongShort?: number;
  /** A wrong answer at `maxLength` and beyond. Default -0.5. */
  readonly wrongLong?: number;
}

/** long + (short - long) (1 + cos(pi L / maxLength)) / 2, with the ends for right and for wrong answers. */
export function cosineLengthReward(options: CosineLengthOptions): Reward {
  const { accuracy = 'accuracy', threshold = 1, maxLength } = options;
  const { rightShort = 1, rightLong = 0.5, wrongShort = -1, wrongLong = -0.5 } = options;
  check(
    maxLength > 0 && Number.isFinite(maxLength),
    () => `cosineLengthReward: expected maxLength > 0, got ${maxLength}; pass the token limit`,
  );
  return (group, earlier) => {
    const right = column('cosineLengthReward', earlier, accuracy);
    return group.map(({ length }, i): Score => {
      const score = right[i] as Score;
      if (score === null) return null;
      const [short, long] = score >= threshold ? [rightShort, rightLong] : [wrongShort, wrongLong];
      const share = Math.min(1, length / maxLength);
      return long + ((short - long) * (1 + Math.cos(Math.PI * share))) / 2;
    });
  };
}

/**
 * 0 up to `maxLength - cache` tokens, then falling by 1 / cache a token, -1 from `maxLength` on.
 *
 * @example
 * softOverlongReward({ maxLength: 20_480, cache: 4_096 }); // DAPO's setting
 */
export function softOverlongReward(options: { readonly maxLength: number; readonly cache: number }): Reward {
  const { maxLength, cache } = options;
  check(
    cache > 0 && cache <= maxLength && Number.isFinite(maxLength),
    () =>
      `softOverlongReward: expected 0 < cache <= maxLength, got cache ${cache}, maxLength ${maxLength}; the cache is the part of the limit that is punished`,
  );
  return perCompletion(({ length }) => {
    const over = length - (maxLength - cache);
    return over <= 0 ? 0 : Math.max(-1, -over / cache);
  });
}
