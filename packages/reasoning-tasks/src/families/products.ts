/**
 * `products`: the product of two integers below 100.
 *
 * Levels: 1, two one-digit factors; 2, one factor of two digits and one of one digit; 3, both of two digits.
 *
 * The thought writes the four digit products, then adds them column by column. A column is a calculator tape:
 * every `=` states the running total of its line, so each step adds one digit to a number below 28. All numbers
 * have two digits, all operands sit at fixed distances, and no partial product has to be shifted or aligned.
 * For 47 * 86 (units, crosses, tens): 7*6=42, 4*6=24, 7*8=56, 4*8=32; tens column 4+4+6, hundreds 2+5+2 and
 * the carry, thousands 3 and the carry.
 */
import type { Random } from '@minke/core';
import type { CoreFamily, Difficulty } from '../task-family.ts';
import { digitRoot, pad, ranged } from './digits.ts';

/** The facts of a product of two integers in [0, 99]. */
export interface ProductFacts {
  readonly left: number;
  readonly right: number;
}

const phrases: readonly ((a: string, b: string) => string)[] = [
  (a, b) => `What is ${a} * ${b}?`,
  (a, b) => `What is ${a} × ${b}?`,
  (a, b) => `What is ${a} x ${b}?`,
  (a, b) => `Calculate ${a} * ${b}.`,
  (a, b) => `${a} * ${b} = ?`,
  (a, b) => `What is ${a} times ${b}?`,
  (a, b) => `Multiply ${a} by ${b}.`,
  (a, b) => `What is the product of ${a} and ${b}?`,
  (a, b) => `${a}*${b}`,
];

function draw(random: Random, difficulty: Difficulty): ProductFacts {
  const left = ranged(random, difficulty === 1 ? 1 : 2);
  const right = ranged(random, difficulty === 3 ? 2 : 1);
  return random.integer(0, 2) === 0 ? { left, right } : { left: right, right: left };
}

/** A calculator tape: `4+4=08+6=14`. */
function tape(first: number, ...rest: number[]): { line: string; total: number } {
  let total = first;
  let line = String(first);
  for (const digit of rest) {
    total += digit;
    line += `+${digit}=${pad(total, 2)}`;
  }
  return { line, total };
}

function thinkProduct({ left, right }: ProductFacts): string[] {
  const [tensLeft, unitsLeft] = [Math.floor(left / 10), left % 10];
  const [tensRight, unitsRight] = [Math.floor(right / 10), right % 10];
  const pairs = [
    [unitsLeft, unitsRight],
    [tensLeft, unitsRight],
    [unitsLeft, tensRight],
    [tensLeft, tensRight],
  ] as const;
  const [units, crossA, crossB, hundreds] = pairs.map(([p, q]) => [
    Math.floor((p * q) / 10),
    (p * q) % 10,
  ]) as [[number, number], [number, number], [number, number], [number, number]];
  const second = tape(units[0], crossA[1], crossB[1]);
  const third = tape(crossA[0], crossB[0], hundreds[1], Math.floor(second.total / 10));
  const fourth = tape(hundreds[0], Math.floor(third.total / 10));
  return [
    `${pad(left, 2)}*${pad(right, 2)}`,
    ...pairs.map(([p, q]) => `${p}*${q}=${pad(p * q, 2)}`),
    second.line,
    third.line,
    fourth.line,
    pad(left * right, 4),
  ];
}

/** Products of two integers below 100. */
export const products: CoreFamily<'products', ProductFacts> = {
  name: 'products',
  draw,
  *all(difficulty) {
    const [leftFrom, leftTo] = difficulty === 1 ? [0, 10] : [10, 100];
    const [rightFrom, rightTo] = difficulty === 3 ? [10, 100] : [0, 10];
    for (let left = leftFrom; left < leftTo; left++)
      for (let right = rightFrom; right < rightTo; right++)
        if (difficulty === 2 || left <= right) yield { left, right };
  },
  canonical: ({ left, right }) => `products ${Math.min(left, right)}*${Math.max(left, right)}`,
  ask: ({ left, right }, random) => random.pick(phrases)(String(left), String(right)),
  answer: ({ left, right }) => String(left * right),
  think(facts, { verify = false }) {
    const lines = thinkProduct(facts);
    if (verify) {
      const [p, q] = [digitRoot(facts.left), digitRoot(facts.right)];
      lines.push(`check ${p}*${q}=${pad(p * q, 2)} ${digitRoot(facts.left * facts.right)} ok`);
    }
    return lines.join('\n');
  },
  templateTexts: () => [
    // A token for ` x` would be taken for the letter x where letters are counted.
    ...phrases.map((phrase) => phrase('0', '0').replace(' x ', 'x')),
    '00*00\n0*0=00\n0+0=00+0=00\n0000\ncheck 0*0=00 0 ok',
  ],
};
