/**
 * `signed_sum`: put plus or minus between the given numbers, in their order, to make the target.
 *
 * Levels 1 to 4: 3 numbers below 10; 4 below 10; 4 below 20; 5 below 20. The search space is small (4 to 16
 * patterns), a try is a running sum, and its verdict one comparison: the smallest task on which trying, checking and
 * retrying can be seen to be learnt.
 */
import type { Random } from '@minke/core';
import { makeFamily } from '../task.ts';
import { exactValue, readExpression } from './expression-reading.ts';
import { compared, operand } from './number-facts.ts';

/** The facts of a signed sum. */
export interface SignedSumFacts {
  readonly numbers: readonly number[];
  readonly target: number;
  /** One choice of signs that makes the target. */
  readonly solution: string;
}

function signed(random: Random, numbers: readonly number[]): string {
  return numbers.map((value, i) => (i === 0 ? value : `${random.pick(['+', '-'])}${value}`)).join('');
}

const terms = (expression: string) => (expression.match(/[-+]?\d+/g) ?? []).map(Number);
const total = (expression: string) => terms(expression).reduce((sum, term) => sum + term, 0);

export const signedSum = makeFamily<'signed_sum', SignedSumFacts, readonly [number, number]>({
  name: 'signed_sum',
  levels: [
    [3, 10],
    [4, 10],
    [4, 20],
    [5, 20],
  ],
  make(random, [count, below]) {
    const numbers = Array.from({ length: count }, () => random.integer(1, below));
    const solution = signed(random, numbers);
    return { numbers, target: total(solution), solution };
  },
  form: ({ numbers, target }) =>
    `${numbers[0]};${numbers
      .slice(1)
      .sort((a, b) => a - b)
      .join(',')}>${target}`,
  phrases: {
    en: [
      'Put + or - between {numbers} to make {target}.',
      'Insert + or - between the numbers {numbers} so that the result is {target}.',
      'Choose signs: {numbers} = {target}',
    ],
    es: ['Pon + o - entre {numbers} para obtener {target}.', 'Elige los signos: {numbers} = {target}'],
  },
  slots: ({ numbers, target }) => ({ numbers: numbers.join(' '), target: String(target) }),
  answer: ({ solution }) => solution,
  read(text) {
    const bare = readExpression(text)?.replaceAll(' ', '') ?? null;
    return bare !== null && /^\d{1,6}(?:[-+]\d{1,6})*$/.test(bare) ? bare : null;
  },
  accepts: ({ numbers, target }, normal) =>
    exactValue(normal)?.value === String(target) && terms(normal).map(Math.abs).join() === numbers.join(),
  steps: () => [],
  check({ target }, candidate) {
    const [first, ...rest] = terms(candidate) as [number, ...number[]];
    let sum = first;
    const lines = rest.map((term) => {
      const line = `${operand(sum)}${term < 0 ? '-' : '+'}${Math.abs(term)}=${sum + term}`;
      sum += term;
      return line;
    });
    return [...lines, compared(sum, target)];
  },
  guess: ({ numbers }, random) => signed(random, numbers),
  vocabulary: ['+', '-', '=', '<', '>'],
});
