/**
 * The types every task family shares: a problem, its facts, the splits and the levels.
 *
 * Family names follow reasoning-gym (https://github.com/open-thought/reasoning-gym) where the task is the same; the
 * README's table says where ours is narrower. A problem is plain JSON; nothing in it depends on a tokenizer or a
 * model.
 */
import type { Random } from '@minke/core';
import type { BaseConversionFacts } from './families/base-conversion.ts';
import type { BasicArithmeticFacts } from './families/basic-arithmetic.ts';
import type { CaesarCipherFacts } from './families/caesar-cipher.ts';
import type { CalendarArithmeticFacts } from './families/calendar-arithmetic.ts';
import type { CoinChangeFacts } from './families/coin-change.ts';
import type { CountBitsFacts } from './families/count-bits.ts';
import type { CountPrimesFacts } from './families/count-primes.ts';
import type { CountdownFacts } from './families/countdown.ts';
import type { FractionSimplificationFacts } from './families/fraction-simplification.ts';
import type { GcdFacts } from './families/gcd.ts';
import type { KnightsKnavesFacts } from './families/knights-knaves.ts';
import type { LcmFacts } from './families/lcm.ts';
import type { LegCountingFacts } from './families/leg-counting.ts';
import type { MiniSudokuFacts } from './families/mini-sudoku.ts';
import type { ModularArithmeticFacts } from './families/modular-arithmetic.ts';
import type { NumberFilteringFacts } from './families/number-filtering.ts';
import type { NumberSequenceFacts } from './families/number-sequence.ts';
import type { PalindromeGenerationFacts } from './families/palindrome-generation.ts';
import type { ParityFacts } from './families/parity.ts';
import type { PrimeFactorizationFacts } from './families/prime-factorization.ts';
import type { ShortestPathFacts } from './families/shortest-path.ts';
import type { SignedSumFacts } from './families/signed-sum.ts';
import type { SimpleEquationsFacts } from './families/simple-equations.ts';
import type { SpellBackwardFacts } from './families/spell-backward.ts';
import type { TimeIntervalsFacts } from './families/time-intervals.ts';
import type { TowerOfHanoiFacts } from './families/tower-of-hanoi.ts';
import type { TruthValueFacts } from './families/truth-value.ts';
import type { WordSortingFacts } from './families/word-sorting.ts';
import type { Language } from './language.ts';
import type { Reasoning } from './task.ts';

/** Names of the task families. */
export type FamilyName = keyof FactsOf;

/** The families of the default mixture, on which the embedded model was trained. */
export type CoreFamilyName =
  | 'chain_sum'
  | 'products'
  | 'number_sorting'
  | 'letter_counting'
  | 'number_comparison';

/** Disjoint parts of a family: about 80, 10 and 10 of 100 canonical problems. */
export type Split = 'train' | 'validation' | 'test';

/**
 * 1 easy, 2 medium, 3 hard; what a level means is said at each family. 4 lies beyond what is trained, for
 * out-of-distribution measurements; the five core families have no level 4.
 */
export type Difficulty = 1 | 2 | 3 | 4;

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
  base_conversion: BaseConversionFacts;
  basic_arithmetic: BasicArithmeticFacts;
  caesar_cipher: CaesarCipherFacts;
  calendar_arithmetic: CalendarArithmeticFacts;
  coin_change: CoinChangeFacts;
  count_bits: CountBitsFacts;
  count_primes: CountPrimesFacts;
  countdown: CountdownFacts;
  fraction_simplification: FractionSimplificationFacts;
  gcd: GcdFacts;
  knights_knaves: KnightsKnavesFacts;
  lcm: LcmFacts;
  leg_counting: LegCountingFacts;
  mini_sudoku: MiniSudokuFacts;
  modular_arithmetic: ModularArithmeticFacts;
  number_filtering: NumberFilteringFacts;
  number_sequence: NumberSequenceFacts;
  palindrome_generation: PalindromeGenerationFacts;
  parity: ParityFacts;
  prime_factorization: PrimeFactorizationFacts;
  shortest_path: ShortestPathFacts;
  signed_sum: SignedSumFacts;
  simple_equations: SimpleEquationsFacts;
  spell_backward: SpellBackwardFacts;
  time_intervals: TimeIntervalsFacts;
  tower_of_hanoi: TowerOfHanoiFacts;
  truth_value: TruthValueFacts;
  word_sorting: WordSortingFacts;
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
  /** The language of the question and of the answer's words; left out for English. */
  readonly language?: 'es';
  /** An exact right answer: an integer, integers joined by `, `, an expression, moves, words. */
  readonly answer: string;
  /** What the question is made of, enough to recompute everything else. */
  readonly metadata: FactsOf[Name];
}

/** A problem of any family. */
export type Problem = { [Name in FamilyName]: ProblemOf<Name> }[FamilyName];

/**
 * Options of a chain of thought. The five core families give their compact thoughts, without words, as long as
 * `language`, `length`, `wrongTries` and `giveUp` are left out and the question is English.
 */
export interface ThoughtOptions {
  /** Adds a check of the result after it was found. Default false. */
  readonly verify?: boolean;
  /** Language of the step words; `mixed` draws it for every word. Default: that of the question. */
  readonly language?: Language | 'mixed';
  /**
   * `long`: the derivation; `short`: only tries and the result; `none`: an empty thought. Default `long`, but
   * `short` with wrong tries, which make little sense after a derivation.
   */
  readonly length?: 'none' | 'short' | 'long';
  /**
   * How many wrong candidates to try, check and reject before the right one; includes `verify`. Fewer where a
   * problem has not that many. Default 0.
   */
  readonly wrongTries?: number;
  /** Stops after the wrong tries, without an answer. Default false. */
  readonly giveUp?: boolean;
  /** Decides the wrong candidates and the mixing, together with the problem. Integer in [0, 2^53). Default 0. */
  readonly seed?: number;
}

/** One task family: draws facts, words them, answers them and explains the answer step by step. */
export interface Family<Name extends FamilyName> {
  readonly name: Name;
  /** The hardest level: 3 or 4. */
  readonly levels: 3 | 4;
  /** How the task is explained and its answers are read and judged; in the core families, the form with words. */
  readonly reasoning: Reasoning<FactsOf[Name]>;
  /** Draws the facts of a problem. */
  draw(random: Random, difficulty: Difficulty): FactsOf[Name];
  /** All facts of a level up to symmetry, where there are few enough to list; null where there are not. */
  all(difficulty: Difficulty): Iterable<FactsOf[Name]> | null;
  /** The problem without its phrasing, the input of the split hash; symmetric problems share it. */
  canonical(facts: FactsOf[Name]): string;
  /** Words the question; the random stream chooses among several phrasings. */
  ask(facts: FactsOf[Name], random: Random, language?: Language): string;
  /** An exact right answer. */
  answer(facts: FactsOf[Name], language?: Language): string;
  /** The chain of thought, lines joined by newlines, ending with the result. */
  think(facts: FactsOf[Name], options: ThoughtOptions & { readonly answerLanguage?: Language }): string;
  /**
   * Every phrasing and every shape of line with `0` in the place of content. For core families `words` adds what
   * only Spanish questions and thoughts with words have.
   */
  templateTexts(words?: boolean): string[];
}

/** What the file of a core family defines; `in-words.ts` adds questions in Spanish and thoughts with words. */
export interface CoreFamily<Name extends CoreFamilyName>
  extends Pick<Family<Name>, 'name' | 'draw' | 'all' | 'canonical'> {
  ask(facts: FactsOf[Name], random: Random): string;
  answer(facts: FactsOf[Name]): string;
  think(facts: FactsOf[Name], options: Pick<ThoughtOptions, 'verify'>): string;
  templateTexts(): string[];
}
