/**
 * `count_primes`: how many primes lie between two integers, both included.
 *
 * Levels 1 to 4: up to 6 numbers below 50; 9 below 100; 12 below 200; 16 below 400. The derivation goes through the
 * numbers: `15=3*5`, or `17 prime 1` with the count so far. A candidate is compared with the primes listed.
 */
import { makeFamily } from '../task.ts';
import { compared, smallestFactor } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** The facts of a count of primes from `from` to `to`, both included; `from` is at least 2. */
export interface CountPrimesFacts {
  readonly from: number;
  readonly to: number;
}

const range = ({ from, to }: CountPrimesFacts) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const primes = (facts: CountPrimesFacts) => range(facts).filter((value) => smallestFactor(value) === value);

export const countPrimes = makeFamily<'count_primes', CountPrimesFacts, readonly [number, number]>({
  name: 'count_primes',
  levels: [
    [6, 50],
    [9, 100],
    [12, 200],
    [16, 400],
  ],
  make(random, [longest, below]) {
    const length = random.integer(Math.ceil(longest / 2), longest + 1);
    const from = random.integer(2, below - length);
    return { from, to: from + length - 1 };
  },
  form: ({ from, to }) => `${from}-${to}`,
  phrases: {
    en: [
      'How many primes are there between {a} and {b}, both included?',
      'How many prime numbers are there from {a} to {b}?',
      'Count the primes from {a} to {b}.',
    ],
    es: ['¿Cuántos primos hay de {a} a {b}?', 'Cuenta los primos de {a} a {b}.'],
  },
  slots: ({ from, to }) => ({ a: String(from), b: String(to) }),
  answer: (facts) => String(primes(facts).length),
  read: readInteger,
  steps(facts, say) {
    let count = 0;
    return range(facts).map((value) => {
      const factor = smallestFactor(value);
      return factor === value
        ? `${value} ${say('prime')} ${++count}`
        : `${value}=${factor}*${value / factor}`;
    });
  },
  check(facts, candidate) {
    const found = primes(facts);
    return [...(found.length > 0 ? [found.join(' ')] : []), compared(found.length, Number(candidate))];
  },
  guess: (facts, random) => String(Math.max(0, primes(facts).length + random.pick([-2, -1, 1, 2]))),
  vocabulary: ['*', '=', '<', '>', ','],
});
