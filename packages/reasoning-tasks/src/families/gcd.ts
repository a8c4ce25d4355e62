/**
 * `gcd`: the greatest common divisor of two integers, by Euclid's algorithm.
 *
 * Levels 1 to 4: below 30, 100, 500 and 1000; half of the pairs are given a common factor above 1. A candidate is
 * checked by dividing both numbers by it and showing a prime that divides both quotients, if there is one.
 */
import type { Random } from '@minke/core';
import { makeFamily } from '../task.ts';
import { commonPrime, divided, euclid } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** The facts of a greatest common divisor; both in [2, 1000). */
export interface GcdFacts {
  readonly left: number;
  readonly right: number;
}

/** Two integers in [2, below), half of the time with a common factor. */
export function related(random: Random, below: number): GcdFacts {
  const factor = random.integer(0, 2) === 0 ? 1 : random.integer(2, Math.max(3, Math.floor(below / 4)));
  const most = Math.floor((below - 1) / factor);
  const number = () => factor * random.integer(factor === 1 ? 2 : 1, most + 1);
  return { left: number(), right: number() };
}

export const gcd = makeFamily<'gcd', GcdFacts, number>({
  name: 'gcd',
  levels: [30, 100, 500, 1000],
  make: related,
  form: ({ left, right }) => `${Math.min(left, right)},${Math.max(left, right)}`,
  phrases: {
    en: [
      'What is the gcd of {a} and {b}?',
      'Find the greatest common divisor of {a} and {b}.',
      'What is the largest number that divides both {a} and {b}?',
      'gcd({a}, {b}) = ?',
    ],
    es: ['¿Cuál es el mcd de {a} y {b}?', 'Halla el máximo común divisor de {a} y {b}.', 'mcd({a}, {b}) = ?'],
  },
  slots: ({ left, right }) => ({ a: String(left), b: String(right) }),
  answer: ({ left, right }) => String(euclid(left, right).divisor),
  read: readInteger,
  steps: ({ left, right }) => euclid(left, right).lines,
  check({ left, right }, candidate) {
    const divisor = Number(candidate);
    for (const value of [left, right])
      if (value % divisor !== 0) return [`${value} mod ${divisor}=${value % divisor}`];
    const lines = [divided(left, divisor), divided(right, divisor)];
    const prime = commonPrime(left / divisor, right / divisor);
    if (prime !== null) for (const value of [left, right]) lines.push(`${value / divisor} mod ${prime}=0`);
    return lines;
  },
  guess({ left, right }, random) {
    const { divisor } = euclid(left, right);
    const candidates = [divisor * 2, divisor + 1, Math.min(left, right), 1, 2, 3];
    for (let d = 2; d < divisor; d++) if (divisor % d === 0) candidates.push(d, d);
    return String(random.pick(candidates));
  },
  vocabulary: ['mod', '/', '=', '*', '-'],
});
