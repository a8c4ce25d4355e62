/** The task families by name, and what one does with a problem of any of them. */
import { check, type Random } from '@minke/core';
import { chainSum } from './families/chain-sum.ts';
import { letterCounting } from './families/letter-counting.ts';
import { numberComparison } from './families/number-comparison.ts';
import { numberSorting } from './families/number-sorting.ts';
import { products } from './families/products.ts';
import type {
  Difficulty,
  FactsOf,
  Family,
  FamilyName,
  Problem,
  ProblemOf,
  ThoughtOptions,
} from './problem.ts';
import { problemId } from './split.ts';

const families: { readonly [Name in FamilyName]: Family<Name> } = {
  chain_sum: chainSum,
  products,
  number_sorting: numberSorting,
  letter_counting: letterCounting,
  number_comparison: numberComparison,
};

/** All family names, in a fixed order. */
export const familyNames = Object.keys(families) as readonly FamilyName[];

/** The family of a name. Throws `MinkeError('invalid-argument')` for an unknown one. */
export function family<Name extends FamilyName>(name: Name): Family<Name> {
  check(
    Object.hasOwn(families, name),
    () => `family: expected one of ${familyNames.join(', ')}, got ${name}; fix the name`,
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
): Problem {
  const { ask, answer, canonical } = family(name);
  const form = canonical(facts);
  const problem: ProblemOf<Name> = {
    family: name,
    id: problemId(form),
    canonical: form,
    difficulty,
    prompt: asTyped(ask(facts, random), random),
    answer: answer(facts),
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
export function generate(name: FamilyName, random: Random, difficulty: Difficulty = 3): Problem {
  checkDifficulty('generate', difficulty);
  return pose(name, family(name).draw(random, difficulty), difficulty, random);
}

/** Throws `MinkeError('invalid-argument')` unless `difficulty` is 1, 2 or 3. */
export function checkDifficulty(where: string, difficulty: number): void {
  check(
    difficulty === 1 || difficulty === 2 || difficulty === 3,
    () => `${where}: expected difficulty 1, 2 or 3, got ${difficulty}; 3 is the hardest`,
  );
}

/**
 * A correct chain of thought: lines joined by newlines, the last one stating the result. Deterministic.
 *
 * @example
 * chainOfThought(problem); // '348+977\n8+7=15\n4+7+1=12\n3+9+1=13\n1325'
 */
export function chainOfThought(problem: Problem, options: ThoughtOptions = {}): string {
  return thinkAs(problem.family, problem, options);
}

function thinkAs<Name extends FamilyName>(name: Name, problem: Problem, options: ThoughtOptions): string {
  return family(name).think(problem.metadata as FactsOf[Name], options);
}

/**
 * All fixed text of prompts, thoughts and answers with `0` in the place of numbers, letters and words: what a
 * tokenizer of these tasks should have whole tokens for. Instances are left out on purpose, so that the letters
 * of counted words stay apart.
 */
export function templateTexts(): string[] {
  const texts = familyNames.flatMap((name) => family(name).templateTexts());
  return [
    ...new Set([
      ...texts,
      ...texts.map(careless),
      'The answer is 0.',
      'The answer is -0.',
      'The answer is 0, 0.',
    ]),
  ];
}
