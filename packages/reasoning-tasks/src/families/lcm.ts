/**
 * `lcm`: the least common multiple of two integers, as one of them times the other's share outside their gcd.
 *
 * Levels 1 to 4: below 12, 25, 50 and 100. A candidate is checked by dividing it by both numbers, then by showing
 * a smaller common multiple if there is one.
 */
import { makeFamily } from '../task.ts';
import { related } from './gcd.ts';
import { commonPrime, divided, euclid } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** The facts of a least common multiple; both in [2, 100). */
export interface LcmFacts {
  readonly left: number;
  readonly right: number;
}

const least = ({ left, right }: LcmFacts) => (left / euclid(left, right).divisor) * right;

export const lcm = makeFamily<'lcm', LcmFacts, number>({
  name: 'lcm',
  levels: [12, 25, 50, 100],
  make: related,
  form: ({ left, right }) => `${Math.min(left, right)},${Math.max(left, right)}`,
  phrases: {
    en: [
      'What is the lcm of {a} and {b}?',
      'Find the least common multiple of {a} and {b}.',
      'What is the smallest number that both {a} and {b} divide?',
      'lcm({a}, {b}) = ?',
    ],
    es: [
      '¿Cuál es el mcm de {a} y {b}?',
      'Halla el mínimo común múltiplo de {a} y {b}.',
      'mcm({a}, {b}) = ?',
    ],
  },
  slots: ({ left, right }) => ({ a: String(left), b: String(right) }),
  answer: (facts) => String(least(facts)),
  read: readInteger,
  steps({ left, right }) {
    const { lines, divisor } = euclid(left, right);
    return [...lines, divided(left, divisor), `${left / divisor}*${right}=${(left / divisor) * right}`];
  },
  check({ left, right }, candidate) {
    const multiple = Number(candidate);
    for (const value of [left, right])
      if (multiple % value !== 0) return [`${multiple} mod ${value}=${multiple % value}`];
    const lines = [divided(multiple, left), divided(multiple, right)];
    const prime = commonPrime(multiple / left, multiple / right);
    if (prime !== null) for (const value of [left, right]) lines.push(`${multiple / value} mod ${prime}=0`);
    return lines;
  },
  guess(facts, random) {
    const value = least(facts);
    const { left, right } = facts;
    return String(random.pick([left * right, value * 2, value * 3, value + left, value + right, left * 2]));
  },
  vocabulary: ['mod', '/', '*', '='],
});
