/**
 * The types every task family shares: a problem, its facts, the splits and the levels.
 *
 * Family names follow reasoning-gym (https://github.com/open-thought/reasoning-gym) where the task is the same:
 * `chain_sum` (here: two terms), `products`, `number_sorting`, `letter_counting`. `number_comparison` is ours.
 * A problem is plain JSON; nothing in it depends on a tokenizer or a model.
 */
import type { Random } from '@minke/core';

/** Names of the task families. */
export type FamilyName =
  | 'chain_sum'
  | 'products'
  | 'number_sorting'
  | 'letter_counting'
  | 'number_comparison';

/** Disjoint parts of a family: about 80, 10 and 10 of 100 canonical problems. */
export type Split = 'train' | 'validation' | 'test';

/** 1 easy, 2 medium, 3 hard; what a level means is said at each family. */
export type Difficulty = 1 | 2 | 3;

/** The facts of a two-term sum or difference; `left` and `right` are integers in [0, 999]. */
export interface ChainSumFacts {
  readonly operation: 'add' | 'subtract';
  readonly left: number;
  readonly right: number;
}

/** The facts of a product of two integers in [0, 99]. */
export interface ProductFacts {
  readonly left: number;
  readonly right: number;
}

/** The facts of a sorting problem: 3 to 5 different integers in [0, 999], in the order of the question. */
export interface NumberSortingFacts {
  readonly numbers: readonly number[];
  readonly direction: 'ascending' | 'descending';
}

/** The facts of a counting problem: one lower-case letter, and lower-case letters to search. */
export interface LetterCountingFacts {
  readonly letter: string;
  readonly word: string;
}

/** The facts of a comparison of two different integers in [0, 999]. */
export interface NumberComparisonFacts {
  readonly left: number;
  readonly right: number;
  readonly wanted: 'larger' | 'smaller';
}

/** The facts of each family. */
export interface FactsOf {
  chain_sum: ChainSumFacts;
  products: ProductFacts;
  number_sorting: NumberSortingFacts;
  letter_counting: LetterCountingFacts;
  number_comparison: NumberComparisonFacts;
}

/** A question with its exact answer. Plain JSON. */
export interface ProblemOf<Name extends FamilyName> {
  readonly family: Name;
  /** 16 hexadecimal digits: the hash of `canonical`, equal for all phrasings of one problem. */
  readonly id: string;
  /** The problem without its phrasing; operands are ordered where order does not matter. */
  readonly canonical: string;
  readonly difficulty: Difficulty;
  /** The question in words. */
  readonly prompt: string;
  /** The exact answer: an integer, or integers joined by `, `. */
  readonly answer: string;
  /** What the question is made of, enough to recompute everything else. */
  readonly metadata: FactsOf[Name];
}

/** A problem of any family. */
export type Problem = { [Name in FamilyName]: ProblemOf<Name> }[FamilyName];

/** Options of a chain of thought. */
export interface ThoughtOptions {
  /** Adds a check of the result after it was found. Default false. */
  readonly verify?: boolean;
}

/** One task family: draws facts, words them, answers them and explains the answer step by step. */
export interface Family<Name extends FamilyName> {
  readonly name: Name;
  /** Draws the facts of a problem. */
  draw(random: Random, difficulty: Difficulty): FactsOf[Name];
  /** All facts of a level up to symmetry, where there are few enough to list; null where there are not. */
  all(difficulty: Difficulty): Iterable<FactsOf[Name]> | null;
  /** The problem without its phrasing, the input of the split hash; symmetric problems share it. */
  canonical(facts: FactsOf[Name]): string;
  /** Words the question; the random stream chooses among several phrasings. */
  ask(facts: FactsOf[Name], random: Random): string;
  /** The exact answer. */
  answer(facts: FactsOf[Name]): string;
  /** The chain of thought, lines joined by newlines, ending with the result. */
  think(facts: FactsOf[Name], options: ThoughtOptions): string;
  /** Every phrasing and every shape of line with `0` in the place of content. */
  templateTexts(): string[];
}
