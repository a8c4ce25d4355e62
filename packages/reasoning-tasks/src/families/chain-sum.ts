/**
 * `chain_sum` with two terms: sums and differences of integers below 1000; a difference may be negative.
 *
 * Levels: 1, both terms below 100; 2, each term has 1 to 3 digits; 3, both terms have 3 digits. One level-3 problem
 * in ten has terms that share their leading digits, so that long comparisons are not too rare to be learnt.
 *
 * The thought is schoolbook column arithmetic at a fixed width, from the right as in Lee et al. 2023
 * (https://arxiv.org/abs/2307.03381): both terms are first copied with leading zeros, then every line states one
 * column whose operands sit at fixed distances before it, and ends in two digits. In a sum (`4+7+1=12`) they are
 * carry and digit. A difference is taken the larger way round, after comparing digits from the left up to the
 * first that differ; each column lends itself ten in advance (`17-8=09` is 7 minus 8, then `17-4-1=12`), so that
 * a first digit of 0 says that the ten was needed and goes to the next column as a borrow. Nothing has to be
 * decided before the digits it depends on are written.
 */
import type { Random } from '@minke/core';
import type { CoreFamily, Difficulty } from '../task-family.ts';
import { compareDigits } from './compare-digits.ts';
import { digitRoot, pad, ranged, twins } from './digits.ts';

/** The facts of a two-term sum or difference; `left` and `right` are integers in [0, 999]. */
export interface ChainSumFacts {
  readonly operation: 'add' | 'subtract';
  readonly left: number;
  readonly right: number;
}

const sums: readonly ((a: string, b: string) => string)[] = [
  (a, b) => `What is ${a} + ${b}?`,
  (a, b) => `Calculate ${a} + ${b}.`,
  (a, b) => `${a} + ${b} = ?`,
  (a, b) => `What is ${a} plus ${b}?`,
  (a, b) => `Add ${a} and ${b}.`,
  (a, b) => `What is the sum of ${a} and ${b}?`,
  (a, b) => `${a}+${b}`,
];

const differences: readonly ((a: string, b: string) => string)[] = [
  (a, b) => `What is ${a} - ${b}?`,
  (a, b) => `Calculate ${a} - ${b}.`,
  (a, b) => `${a} - ${b} = ?`,
  (a, b) => `What is ${a} minus ${b}?`,
  (a, b) => `Subtract ${b} from ${a}.`,
  (a, b) => `What is the difference ${a} - ${b}?`,
  (a, b) => `${a}-${b}`,
];

function term(random: Random, difficulty: Difficulty): number {
  if (difficulty === 1) return ranged(random, random.integer(1, 3));
  if (difficulty === 2) return ranged(random, random.integer(1, 4));
  return ranged(random, 3);
}

function thinkSum(left: number, right: number): string[] {
  const [a, b] = [pad(left, 3), pad(right, 3)];
  const lines = [`${a}+${b}`];
  let carry = 0;
  for (let column = 2; column >= 0; column--) {
    const total = Number(a[column]) + Number(b[column]) + carry;
    lines.push(`${a[column]}+${b[column]}${column === 2 ? '' : `+${carry}`}=${pad(total, 2)}`);
    carry = Math.floor(total / 10);
  }
  lines.push(pad(left + right, 4));
  return lines;
}

function thinkDifference(left: number, right: number): string[] {
  const lines = [`${pad(left, 3)}-${pad(right, 3)}`, ...compareDigits(left, right)];
  const [a, b] = [pad(Math.max(left, right), 3), pad(Math.min(left, right), 3)];
  lines.push(`${a}-${b}`);
  let borrow = 0;
  for (let column = 2; column >= 0; column--) {
    const difference = 10 + Number(a[column]) - Number(b[column]) - borrow;
    lines.push(`1${a[column]}-${b[column]}${column === 2 ? '' : `-${borrow}`}=${pad(difference, 2)}`);
    borrow = difference < 10 ? 1 : 0;
  }
  lines.push(`${left < right ? '-' : ''}${pad(Math.abs(left - right), 3)}`);
  return lines;
}

/** Casting out nines: the digit roots of the terms and of the result must agree. */
function checkNines({ operation, left, right }: ChainSumFacts): string {
  if (operation === 'add') {
    const [p, q, r] = [digitRoot(left), digitRoot(right), digitRoot(left + right)];
    return `check ${p}+${q}=${pad(p + q, 2)} ${r} ok`;
  }
  // A difference is checked as the sum that undoes it: smaller + result = larger.
  const [small, large] = [Math.min(left, right), Math.max(left, right)];
  const [p, q, r] = [digitRoot(small), digitRoot(large - small), digitRoot(large)];
  return `check ${p}+${q}=${pad(p + q, 2)} ${r} ok`;
}

/** Sums and differences of two integers below 1000. */
export const chainSum: CoreFamily<'chain_sum', ChainSumFacts> = {
  name: 'chain_sum',
  draw(random, difficulty) {
    const operation = random.integer(0, 2) === 0 ? 'add' : 'subtract';
    let left = term(random, difficulty);
    let right = term(random, difficulty);
    if (difficulty === 3) [left, right] = twins(random, left, right);
    return { operation, left, right };
  },
  all(difficulty) {
    return difficulty === 1 ? allBelow(100) : null;
  },
  canonical({ operation, left, right }) {
    const [small, large] = [Math.min(left, right), Math.max(left, right)];
    return operation === 'add' ? `chain_sum ${small}+${large}` : `chain_sum ${large}-${small}`;
  },
  ask: ({ operation, left, right }, random) =>
    random.pick(operation === 'add' ? sums : differences)(String(left), String(right)),
  answer: ({ operation, left, right }) => String(operation === 'add' ? left + right : left - right),
  think(facts, { verify = false }) {
    const lines =
      facts.operation === 'add'
        ? thinkSum(facts.left, facts.right)
        : thinkDifference(facts.left, facts.right);
    if (verify) lines.push(checkNines(facts));
    return lines.join('\n');
  },
  templateTexts: () => [
    ...[...sums, ...differences].map((phrase) => phrase('0', '0')),
    '000+000\n0+0=00\n0+0+0=00\n0000\ncheck 0+0=00 0 ok',
    '000-000\n0-0<0\n0-0=0\n0-0>0\n000-000\n00-0=00\n00-0-0=00\n-000',
  ],
};

function* allBelow(limit: number): Iterable<ChainSumFacts> {
  for (const operation of ['add', 'subtract'] as const)
    for (let left = 0; left < limit; left++)
      for (let right = left; right < limit; right++)
        yield operation === 'add' ? { operation, left, right } : { operation, left: right, right: left };
}
