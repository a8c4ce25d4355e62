/** The task families by name, and what one does with a problem of any of them. */
import { check, type Random } from '@minke/core';
import { baseConversion } from './families/base-conversion.ts';
import { basicArithmetic } from './families/basic-arithmetic.ts';
import { caesarCipher } from './families/caesar-cipher.ts';
import { calendarArithmetic } from './families/calendar-arithmetic.ts';
import { coinChange } from './families/coin-change.ts';
import { countBits } from './families/count-bits.ts';
import { countPrimes } from './families/count-primes.ts';
import { countdown } from './families/countdown.ts';
import { fractionSimplification } from './families/fraction-simplification.ts';
import { gcd } from './families/gcd.ts';
import { knightsKnaves } from './families/knights-knaves.ts';
import { lcm } from './families/lcm.ts';
import { legCounting } from './families/leg-counting.ts';
import { miniSudoku } from './families/mini-sudoku.ts';
import { modularArithmetic } from './families/modular-arithmetic.ts';
import { numberFiltering } from './families/number-filtering.ts';
import { numberSequence } from './families/number-sequence.ts';
import { palindromeGeneration } from './families/palindrome-generation.ts';
import { parity } from './families/parity.ts';
import { primeFactorization } from './families/prime-factorization.ts';
import { shortestPath } from './families/shortest-path.ts';
import { signedSum } from './families/signed-sum.ts';
import { simpleEquations } from './families/simple-equations.ts';
import { spellBackward } from './families/spell-backward.ts';
import { timeIntervals } from './families/time-intervals.ts';
import { towerOfHanoi } from './families/tower-of-hanoi.ts';
import { truthValue } from './families/truth-value.ts';
import { wordSorting } from './families/word-sorting.ts';
import { coreFamilies } from './in-words.ts';
import type { Language } from './language.ts';
import type { CoreFamilyName, FactsOf, Family, FamilyName, Problem, ProblemOf } from './problem.ts';
import { problemId } from './split.ts';
import type { Difficulty, ThoughtOptions } from './task-family.ts';
import { readVerdicts, type StatedVerdict } from './thought.ts';

const families: { readonly [Name in FamilyName]: Family<Name> } = {
  ...coreFamilies,
  base_conversion: baseConversion,
  basic_arithmetic: basicArithmetic,
  caesar_cipher: caesarCipher,
  calendar_arithmetic: calendarArithmetic,
  coin_change: coinChange,
  count_bits: countBits,
  count_primes: countPrimes,
  countdown,
  fraction_simplification: fractionSimplification,
  gcd,
  knights_knaves: knightsKnaves,
  lcm,
  leg_counting: legCounting,
  mini_sudoku: miniSudoku,
  modular_arithmetic: modularArithmetic,
  number_filtering: numberFiltering,
  number_sequence: numberSequence,
  palindrome_generation: palindromeGeneration,
  parity,
  prime_factorization: primeFactorization,
  shortest_path: shortestPath,
  signed_sum: signedSum,
  simple_equations: simpleEquations,
  spell_backward: spellBackward,
  time_intervals: timeIntervals,
  tower_of_hanoi: towerOfHanoi,
  truth_value: truthValue,
  word_sorting: wordSorting,
};

/**
 * The five core families, in a fixed order: the default mixture, and what the embedded model was trained on.
 * `allFamilyNames` has every family.
 */
export const familyNames = Object.keys(coreFamilies) as readonly CoreFamilyName[] & readonly FamilyName[];

/** Every family, the core ones first. */
export const allFamilyNames = Object.keys(families) as readonly FamilyName[];

/** The family of a name. Throws `MinkeError('invalid-argument')` for an unknown one. */
export function family<Name extends FamilyName>(name: Name): Family<Name> {
  check(
    Object.hasOwn(families, name),
    () => `family: expected one of ${allFamilyNames.join(', ')}, got ${name}; fix the name`,
  );
  return families[name] as Family<Name>;
}

/** One question in eight as people type them: no capital, no closing mark. */
function asTyped(prompt: string, random: Random): string {
  return random.integer(0, 8) === 0 ? careless(prompt) : prompt;
}

function careless(prompt: string): string {
  return prompt.charAt(0).toLowerCase() + prompt.slice(1).replace(/ ?[.?]$/, '');
}

/** Makes a problem of given facts; the random stream only chooses the phrasing. */
export function pose<Name extends FamilyName>(
  name: Name,
  facts: FactsOf[Name],
  difficulty: Difficulty,
  random: Random,
  language: Language = 'en',
): Problem {
  const { ask, answer, canonical } = family(name);
  const form = canonical(facts);
  const prompt = ask(facts, random, language);
  const problem: ProblemOf<Name> = {
    family: name,
    id: problemId(form),
    canonical: form,
    difficulty,
    ...(language === 'en' ? {} : { language }),
    prompt: language === 'en' ? asTyped(prompt, random) : prompt,
    answer: answer(facts, language),
    metadata: facts,
  };
  return problem as Problem;
}

/**
 * Draws a problem of a family, of any split.
 *
 * @example
 * generate('products', new Random(1), 3).prompt; // for example 'Multiply 47 by 86.'
 */
export function generate(
  name: FamilyName,
  random: Random,
  difficulty: Difficulty = 3,
  language: Language = 'en',
): Problem {
  checkDifficulty('generate', name, difficulty);
  return pose(name, family(name).draw(random, difficulty), difficulty, random, language);
}

/** Throws `MinkeError('invalid-argument')` unless the family has the level. */
export function checkDifficulty(where: string, name: FamilyName, difficulty: number): void {
  const { levels } = family(name);
  check(
    Number.isInteger(difficulty) && difficulty >= 1 && difficulty <= levels,
    () =>
      `${where}: expected difficulty ${levels === 3 ? '1, 2 or 3' : '1, 2, 3 or 4'}, got ${difficulty}; ` +
      `${levels} is the hardest of ${name}`,
  );
}

/**
 * A correct chain of thought: lines joined by newlines, the last one stating the result. Deterministic.
 *
 * @example
 * chainOfThought(problem); // '348+977\n8+7=15\n4+7+1=12\n3+9+1=13\n1325'
 * chainOfThought(equation, { wrongTries: 1 });
 * // 'try 5\n3*5=15\n15+4=19\n19<25\nwrong\ntry 7\n3*7=21\n21+4=25\n25=25\nright\nso 7'
 */
export function chainOfThought(problem: Problem, options: ThoughtOptions = {}): string {
  return thinkAs(problem.family, problem, options);
}

function thinkAs<Name extends FamilyName>(name: Name, problem: Problem, options: ThoughtOptions): string {
  const facts = problem.metadata as FactsOf[Name];
  return family(name).think(facts, { ...options, answerLanguage: problem.language ?? 'en' });
}

/**
 * What a thought says of its own tries, and whether that is true: `try <candidate>`, some lines, `right` or `wrong`,
 * in either language. For filters ("own verdicts right") and for the precision and recall of a model's checks.
 *
 * @example
 * verdictsOf(problem, thought).every((verdict) => verdict.holds);
 */
export function verdictsOf(problem: Problem, thought: string): StatedVerdict[] {
  return verdictsAs(problem.family, problem, thought);
}

function verdictsAs<Name extends FamilyName>(name: Name, problem: Problem, thought: string): StatedVerdict[] {
  return readVerdicts(family(name).reasoning, problem.metadata as FactsOf[Name], thought);
}

/**
 * All fixed text of prompts, thoughts and answers with `0` in the place of numbers, letters and words: what a
 * tokenizer of these tasks should have whole tokens for. Instances are left out on purpose, so that the letters
 * of counted words stay apart.
 *
 * @param names families to include, with their Spanish questions and thoughts with words. Without it, the five core
 * families in their compact English form, as for the embedded model's tokenizer.
 */
export function templateTexts(names?: readonly FamilyName[]): string[] {
  const texts = (names ?? familyNames).flatMap((name) => family(name).templateTexts(names !== undefined));
  const answers = ['The answer is 0.', 'The answer is -0.', 'The answer is 0, 0.'];
  if (names !== undefined) answers.push('La respuesta es 0.', 'La respuesta es -0.', 'La respuesta es 0, 0.');
  return [...new Set([...texts, ...texts.map(careless), ...answers])];
}
