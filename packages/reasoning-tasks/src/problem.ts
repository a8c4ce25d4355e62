/**
 * A problem of any family: its name, its facts, its question and its answer.
 *
 * Family names follow reasoning-gym (https://github.com/open-thought/reasoning-gym) where the task is the same; the
 * README's table says where ours is narrower. A problem is plain JSON; nothing in it depends on a tokenizer or a
 * model.
 */
import type { BaseConversionFacts } from './families/base-conversion.ts';
import type { BasicArithmeticFacts } from './families/basic-arithmetic.ts';
import type { CaesarCipherFacts } from './families/caesar-cipher.ts';
import type { CalendarArithmeticFacts } from './families/calendar-arithmetic.ts';
import type { ChainSumFacts } from './families/chain-sum.ts';
import type { CoinChangeFacts } from './families/coin-change.ts';
import type { CountBitsFacts } from './families/count-bits.ts';
import type { CountPrimesFacts } from './families/count-primes.ts';
import type { CountdownFacts } from './families/countdown.ts';
import type { FractionSimplificationFacts } from './families/fraction-simplification.ts';
import type { GcdFacts } from './families/gcd.ts';
import type { KnightsKnavesFacts } from './families/knights-knaves.ts';
import type { LcmFacts } from './families/lcm.ts';
import type { LegCountingFacts } from './families/leg-counting.ts';
import type { LetterCountingFacts } from './families/letter-counting.ts';
import type { MiniSudokuFacts } from './families/mini-sudoku.ts';
import type { ModularArithmeticFacts } from './families/modular-arithmetic.ts';
import type { NumberComparisonFacts } from './families/number-comparison.ts';
import type { NumberFilteringFacts } from './families/number-filtering.ts';
import type { NumberSequenceFacts } from './families/number-sequence.ts';
import type { NumberSortingFacts } from './families/number-sorting.ts';
import type { PalindromeGenerationFacts } from './families/palindrome-generation.ts';
import type { ParityFacts } from './families/parity.ts';
import type { PrimeFactorizationFacts } from './families/prime-factorization.ts';
import type { ProductFacts } from './families/products.ts';
import type { ShortestPathFacts } from './families/shortest-path.ts';
import type { SignedSumFacts } from './families/signed-sum.ts';
import type { SimpleEquationsFacts } from './families/simple-equations.ts';
import type { SpellBackwardFacts } from './families/spell-backward.ts';
import type { TimeIntervalsFacts } from './families/time-intervals.ts';
import type { TowerOfHanoiFacts } from './families/tower-of-hanoi.ts';
import type { TruthValueFacts } from './families/truth-value.ts';
import type { WordSortingFacts } from './families/word-sorting.ts';
import type { Difficulty, TaskFamily } from './task-family.ts';

/** Names of the task families. */
export type FamilyName = keyof FactsOf;

/** The families of the default mixture, on which the embedded model was trained. */
export type CoreFamilyName =
  | 'chain_sum'
  | 'products'
  | 'number_sorting'
  | 'letter_counting'
  | 'number_comparison';

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

/** The family of a name. */
export type Family<Name extends FamilyName> = TaskFamily<Name, FactsOf[Name]>;
