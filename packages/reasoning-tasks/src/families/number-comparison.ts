/**
 * `number_comparison`: which of two different integers below 1000 is larger, or smaller.
 *
 * Levels: 1, both below 100; 2, each has 1 to 3 digits; 3, both have 3 digits. One pair in ten of level 3 shares
 * its leading digits. The thought copies both with leading zeros and compares digits from the left up to the
 * first that differ: the same lines as a subtraction's, so the two families teach each other.
 */
import type { Random } from '@minke/core';
import type { CoreFamily, Difficulty } from '../task-family.ts';
import { compareDigits } from './compare-digits.ts';
import { pad, ranged, twins } from './digits.ts';

/** The facts of a comparison of two different integers in [0, 999]. */
export interface NumberComparisonFacts {
  readonly left: number;
  readonly right: number;
  readonly wanted: 'larger' | 'smaller';
}

const phrases: readonly ((wanted: string, a: string, b: string) => string)[] = [
  (wanted, a, b) => `Which is ${wanted}, ${a} or ${b}?`,
  (wanted, a, b) => `Which number is ${wanted}: ${a} or ${b}?`,
  (wanted, a, b) => `What is the ${wanted} of ${a} and ${b}?`,
];

const wordsFor = { larger: ['larger', 'bigger', 'greater'], smaller: ['smaller'] } as const;

function draw(random: Random, difficulty: Difficulty): NumberComparisonFacts {
  const digits = () => (difficulty === 3 ? 3 : random.integer(1, difficulty + 2));
  const wanted = random.integer(0, 2) === 0 ? 'larger' : 'smaller';
  for (;;) {
    let left = ranged(random, digits());
    let right = ranged(random, digits());
    if (difficulty === 3) [left, right] = twins(random, left, right);
    if (left !== right) return { left, right, wanted };
  }
}

function result({ left, right, wanted }: NumberComparisonFacts): number {
  return wanted === 'larger' ? Math.max(left, right) : Math.min(left, right);
}

/** The larger or the smaller of two integers below 1000. */
export const numberComparison: CoreFamily<'number_comparison', NumberComparisonFacts> = {
  name: 'number_comparison',
  draw,
  all: (difficulty) => (difficulty === 1 ? allBelow(100) : null),
  canonical: ({ left, right }) => `number_comparison ${Math.min(left, right)},${Math.max(left, right)}`,
  ask: ({ left, right, wanted }, random) =>
    random.pick(phrases)(random.pick(wordsFor[wanted]), String(left), String(right)),
  answer: (facts) => String(result(facts)),
  think(facts, { verify = false }) {
    const { left, right } = facts;
    const lines = [`${pad(left, 3)} ${pad(right, 3)}`, ...compareDigits(left, right), pad(result(facts), 3)];
    if (verify) lines.push(`check ${compareDigits(right, left).at(-1)} ok`);
    return lines.join('\n');
  },
  templateTexts: () => [
    ...phrases.flatMap((phrase) =>
      [...wordsFor.larger, ...wordsFor.smaller].map((wanted) => phrase(wanted, '0', '0')),
    ),
    '000 000\n0-0=0\n0-0<0\n000\ncheck 0-0>0 ok',
  ],
};

function* allBelow(limit: number): Iterable<NumberComparisonFacts> {
  for (let left = 0; left < limit; left++)
    for (let right = left + 1; right < limit; right++) yield { left, right, wanted: 'larger' };
}
