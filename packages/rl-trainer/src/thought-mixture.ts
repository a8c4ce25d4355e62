/**
 * What kinds of thoughts a data set of generated tasks has, as shares and relative frequencies: checked or not, with
 * wrong tries first, with or without a derivation, in which language, given up.
 *
 * Plain data, drawn for each problem apart from its own seeded stream, so that a resumed run sees the same thoughts.
 * Habits that reinforcement shall select have to be in the data now and then (Gandhi et al. 2025,
 * https://arxiv.org/abs/2503.01307).
 */
import { MinkeError, type Random } from '@minke/core';
import { pickWeighted, type ThoughtOptions } from '@minke/reasoning-tasks';

/** Kinds of thoughts; what is left out is as `chainOfThought` has it by default. */
export interface ThoughtMixture {
  /** Share of thoughts in which the result is checked, in [0, 1]. Default 0. */
  readonly verify?: number;
  /** Relative frequencies of 0, 1, 2, ... wrong tries before the right one. Default: none. */
  readonly wrongTries?: readonly number[];
  /** Relative frequencies of lengths; `default` is `long`, but `short` with wrong tries. Default: all `default`. */
  readonly length?: Readonly<Partial<Record<'default' | NonNullable<ThoughtOptions['length']>, number>>>;
  /** Relative frequencies of languages; `question` is the question's own. Default: all `question`. */
  readonly language?: Readonly<Partial<Record<'question' | NonNullable<ThoughtOptions['language']>, number>>>;
  /** Of thoughts with wrong tries, the share that ends after them without an answer, in [0, 1]. Default 0. */
  readonly giveUp?: number;
}

const kinds = {
  length: ['default', 'long', 'short', 'none'],
  language: ['question', 'en', 'es', 'mixed'],
} as const;

/**
 * Checks a mixture and returns it.
 *
 * @throws MinkeError `invalid-config` naming every problem
 */
export function validateThoughts(mixture: ThoughtMixture): ThoughtMixture {
  const problems: string[] = [];
  const frequencies = (what: string, values: readonly unknown[]) => {
    const fine = values.every((value) => typeof value === 'number' && value >= 0 && Number.isFinite(value));
    if (!fine || !values.some((value) => (value as number) > 0))
      problems.push(`${what} of frequencies >= 0, one of them above (got ${values.join(', ') || 'none'})`);
  };
  const known = ['verify', 'wrongTries', 'length', 'language', 'giveUp'];
  for (const name of Object.keys(mixture))
    if (!known.includes(name)) problems.push(`no field ${name}; there are ${known.join(', ')}`);
  for (const name of ['verify', 'giveUp'] as const) {
    const share = mixture[name];
    if (share !== undefined && !(typeof share === 'number' && share >= 0 && share <= 1))
      problems.push(`${name} in [0, 1] (got ${share})`);
  }
  if (mixture.wrongTries !== undefined) frequencies('wrongTries', mixture.wrongTries);
  for (const name of ['length', 'language'] as const) {
    const table = mixture[name];
    if (table === undefined) continue;
    const unknown = Object.keys(table).filter((key) => !(kinds[name] as readonly string[]).includes(key));
    if (unknown.length > 0)
      problems.push(`${name} among ${kinds[name].join(', ')} (got ${unknown.join(', ')})`);
    frequencies(name, Object.values(table));
  }
  if ((mixture.giveUp ?? 0) > 0 && !mixture.wrongTries?.slice(1).some((weight) => weight > 0))
    problems.push('wrongTries where giveUp is above 0: only thoughts with wrong tries are given up');
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `ThoughtMixture: expected ${problems.join('; ')}`);
  return mixture;
}

function pickKind<Kind extends string>(
  random: Random,
  all: readonly Kind[],
  table: Readonly<Partial<Record<Kind, number>>>,
): Kind {
  return pickWeighted(
    random,
    all,
    all.map((kind) => table[kind] ?? 0),
  );
}

/**
 * Draws the options of one thought. Which random numbers are used depends on the mixture only.
 *
 * @example
 * chainOfThought(problem, drawThought({ wrongTries: [0.7, 0.2, 0.1], giveUp: 0.5 }, new Random(1)));
 */
export function drawThought(mixture: ThoughtMixture, random: Random): ThoughtOptions {
  const { verify, wrongTries, length, language, giveUp } = mixture;
  const seed = random.uint32();
  const verified = verify !== undefined && random.uniform() < verify;
  const tries =
    wrongTries === undefined
      ? 0
      : pickWeighted(
          random,
          wrongTries.map((_, count) => count),
          wrongTries,
        );
  const long = length === undefined ? 'default' : pickKind(random, kinds.length, length);
  const spoken = language === undefined ? 'question' : pickKind(random, kinds.language, language);
  const givenUp = giveUp !== undefined && random.uniform() < giveUp && tries > 0;
  return {
    seed,
    ...(verified ? { verify: true } : {}),
    ...(tries > 0 ? { wrongTries: tries } : {}),
    ...(long === 'default' ? {} : { length: long }),
    ...(spoken === 'question' ? {} : { language: spoken }),
    // An empty thought has no tries to give up after.
    ...(givenUp && long !== 'none' ? { giveUp: true } : {}),
  };
}
