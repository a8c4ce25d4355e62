/**
 * Seeded sets of different problems of one family and split: samples, whole splits, and what to evaluate on.
 *
 * The split is decided by `split()` alone, so sets of different seeds, levels and counts never mix splits.
 */
import { check, Random } from '@minke/core';
import { checkDifficulty, family, pose } from './families.ts';
import type { Language } from './language.ts';
import type { FamilyName, Problem } from './problem.ts';
import { hash64, type Split, split } from './split.ts';
import type { Difficulty } from './task-family.ts';

/** How to draw a set. */
export interface DatasetOptions {
  /** Integer in [0, 2^53); equal options give equal problems. */
  readonly seed: number;
  /** How many problems. */
  readonly count: number;
  /** Default 3. */
  readonly difficulty?: Difficulty;
  /** Language of the questions. Default `en`. */
  readonly language?: Language;
}

/** Draws in vain before a set counts as exhausted; a family of N problems needs about N ln N draws in all. */
const patience = 50_000;

/** A random stream of its own for each family, split and level. */
function streamOf(seed: number, ...names: (string | number)[]): Random {
  return new Random(seed, Number(hash64(names.join(' ')) & 0xffffffffn));
}

/**
 * Draws `count` different problems (by canonical form) of one family, split and level.
 *
 * @throws MinkeError `invalid-argument` when the split has fewer problems than `count`.
 * @example
 * const held = [...dataset('chain_sum', 'test', { seed: 1, count: 500 })];
 */
export function* dataset(name: FamilyName, part: Split, options: DatasetOptions): Generator<Problem> {
  const { count, difficulty = 3 } = options;
  let found = 0;
  for (const problem of different(name, part, options)) {
    found++;
    yield problem;
  }
  check(
    found === count,
    () =>
      `dataset: expected at least ${count} problems in ${name} ${part} level ${difficulty}, ` +
      `got ${found}; ask for fewer, or use heldOut()`,
  );
}

/** At most `count` different problems; fewer only if the split has no more, as far as draws can tell. */
function* different(name: FamilyName, part: Split, options: DatasetOptions): Generator<Problem> {
  const { seed, count, difficulty = 3, language = 'en' } = options;
  checkDifficulty('dataset', name, difficulty);
  const { draw, canonical } = family(name);
  const random = streamOf(seed, 'dataset', name, part, difficulty);
  const seen = new Set<string>();
  for (let vain = 0; seen.size < count && vain < patience; vain++) {
    const facts = draw(random, difficulty);
    const form = canonical(facts);
    if (seen.has(form) || split({ canonical: form }) !== part) continue;
    seen.add(form);
    vain = 0;
    yield pose(name, facts, difficulty, random, language);
  }
}

/**
 * Every problem of a split of one level in a seeded order, or null where a level is too large to list. Listed:
 * all of `products`, level 1 of `chain_sum` and `number_comparison`. Operand order and phrasing are drawn.
 */
export function wholeSplit(
  name: FamilyName,
  part: Split,
  options: Pick<DatasetOptions, 'seed' | 'difficulty' | 'language'>,
): Problem[] | null {
  const { seed, difficulty = 3, language = 'en' } = options;
  checkDifficulty('wholeSplit', name, difficulty);
  const { all, canonical } = family(name);
  const listed = all(difficulty);
  if (listed === null) return null;
  const random = streamOf(seed, 'whole', name, part, difficulty);
  const problems: Problem[] = [];
  for (const facts of listed)
    if (split({ canonical: canonical(facts) }) === part)
      problems.push(pose(name, facts, difficulty, random, language));
  return random.shuffle(problems);
}

/**
 * The problems to measure a model on: the whole split where it has at most `count` problems, else `count` of it.
 *
 * @example
 * heldOut('products', 'test', { seed: 0, count: 500 }); // all of about 400 products of two-digit numbers
 */
export function heldOut(name: FamilyName, part: Split, options: DatasetOptions): Problem[] {
  const whole = wholeSplit(name, part, options);
  return whole !== null && whole.length <= options.count ? whole : [...different(name, part, options)];
}
