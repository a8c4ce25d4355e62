/**
 * `prime_factorization`: an integer as a product of primes, `2 * 2 * 3 * 5`, in any order.
 *
 * Levels 1 to 4: below 200, 1000, 3000 and 10000. The derivation divides by the smallest prime factor again and
 * again. A candidate is multiplied out, then a factor that is not prime is divided.
 */
import { makeFamily } from '../task.ts';
import { compared, divided, primeFactors, smallestFactor } from './number-facts.ts';
import { readDigits } from './reading.ts';

/** The facts of a factorization; an integer in [4, 10000). */
export interface PrimeFactorizationFacts {
  readonly value: number;
}

const factorsOf = (text: string) => text.split(' * ').map(Number);

export const primeFactorization = makeFamily<
  'prime_factorization',
  PrimeFactorizationFacts,
  readonly [number, number]
>({
  name: 'prime_factorization',
  levels: [
    [4, 200],
    [100, 1000],
    [500, 3000],
    [2000, 10_000],
  ],
  make(random, [from, to]) {
    for (;;) {
      const value = random.integer(from, to);
      // Numbers with a large prime factor ask for a list of primes, not for a division.
      if ((primeFactors(value).at(-1) as number) < 10 + 3 * Math.sqrt(value)) return { value };
    }
  },
  form: ({ value }) => String(value),
  phrases: {
    en: [
      'What is the prime factorization of {n}?',
      'Find the prime factorization of {n}.',
      'Write {n} as a product of primes.',
      'Factor {n} into primes.',
    ],
    es: ['Descompón {n} en factores primos.', 'Escribe {n} como producto de primos.'],
  },
  slots: ({ value }) => ({ n: String(value) }),
  answer: ({ value }) => primeFactors(value).join(' * '),
  read(text) {
    const factors = text.replace(/^\d{1,15}\s*=\s*/, '').split(/\s*(?:\*|×|·|x|\\times|\\cdot|,)\s*/);
    const numbers = factors.map(readDigits);
    if (factors.length > 32 || numbers.includes(null)) return null;
    return numbers
      .map(Number)
      .sort((a, b) => a - b)
      .join(' * ');
  },
  steps({ value }) {
    const lines: string[] = [];
    for (let rest = value; rest > smallestFactor(rest); rest /= smallestFactor(rest))
      lines.push(divided(rest, smallestFactor(rest)));
    return lines;
  },
  check({ value }, candidate) {
    const factors = factorsOf(candidate);
    const product = factors.reduce((a, b) => a * b);
    const lines = [`${candidate.replaceAll(' ', '')}=${product}`];
    if (product !== value) return [...lines, compared(product, value)];
    const composite = factors.find((factor) => factor === 1 || smallestFactor(factor) !== factor);
    if (composite !== undefined)
      lines.push(divided(composite, composite === 1 ? 1 : smallestFactor(composite)));
    return lines;
  },
  guess({ value }, random) {
    const factors = primeFactors(value);
    const at = random.integer(0, factors.length);
    const [taken] = factors.splice(at, 1) as [number];
    const joined = random.integer(0, 2) === 0 && factors.length > 1;
    if (joined) factors[0] = (factors[0] as number) * taken;
    else factors.push(random.pick([2, 3, 5, 7]), ...(random.integer(0, 3) === 0 ? [taken] : []));
    return factors.sort((a, b) => a - b).join(' * ');
  },
  vocabulary: ['*', '/', '=', '<', '>'],
});
