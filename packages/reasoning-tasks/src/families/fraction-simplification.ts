/**
 * `fraction_simplification`: a fraction in lowest terms.
 *
 * Levels 1 to 4: lowest terms below 10 widened by up to 5; below 20 by 9; below 50 by 20; below 100 by 30. A
 * candidate is checked by multiplying crosswise, then by a prime that divides both of its parts, if there is one.
 */
import { makeFamily } from '../task.ts';
import { commonPrime, compared, divided, euclid } from './number-facts.ts';

/** The facts of a fraction that can be reduced to a denominator above 1. */
export interface FractionSimplificationFacts {
  readonly numerator: number;
  readonly denominator: number;
}

const parts = (text: string) => text.split('/').map(Number) as [number, number];

export const fractionSimplification = makeFamily<
  'fraction_simplification',
  FractionSimplificationFacts,
  readonly [number, number]
>({
  name: 'fraction_simplification',
  levels: [
    [10, 6],
    [20, 10],
    [50, 21],
    [100, 31],
  ],
  make(random, [below, widest]) {
    for (;;) {
      const [numerator, denominator] = [random.integer(1, below), random.integer(2, below)];
      const factor = random.integer(2, widest);
      if (euclid(numerator, denominator).divisor < denominator)
        return { numerator: numerator * factor, denominator: denominator * factor };
    }
  },
  form: ({ numerator, denominator }) => `${numerator}/${denominator}`,
  phrases: {
    en: [
      'Simplify the fraction {a}/{b}.',
      'Simplify {a}/{b}.',
      'Write {a}/{b} in lowest terms.',
      'What is {a}/{b} in simplest form?',
      'Reduce {a}/{b} to lowest terms.',
    ],
    es: ['Simplifica la fracción {a}/{b}.', 'Reduce {a}/{b} a su mínima expresión.'],
  },
  slots: ({ numerator, denominator }) => ({ a: String(numerator), b: String(denominator) }),
  answer({ numerator, denominator }) {
    const { divisor } = euclid(numerator, denominator);
    return `${numerator / divisor}/${denominator / divisor}`;
  },
  read(text) {
    const match =
      /^(\d{1,15})\s*\/\s*(\d{1,15})$/.exec(text) ??
      /^\\[dt]?frac\s*\{\s*(\d{1,15})\s*\}\s*\{\s*(\d{1,15})\s*\}$/.exec(text);
    return match === null ? null : `${Number(match[1])}/${Number(match[2])}`;
  },
  steps({ numerator, denominator }) {
    const { lines, divisor } = euclid(numerator, denominator);
    return [...lines, divided(numerator, divisor), divided(denominator, divisor)];
  },
  check({ numerator, denominator }, candidate) {
    const [p, q] = parts(candidate);
    const [left, right] = [p * denominator, q * numerator];
    const lines = [`${p}*${denominator}=${left}`, `${q}*${numerator}=${right}`, compared(left, right)];
    const prime = commonPrime(p, q);
    if (left === right && prime !== null) lines.push(`${p} mod ${prime}=0`, `${q} mod ${prime}=0`);
    return lines;
  },
  guess({ numerator, denominator }, random) {
    const { divisor } = euclid(numerator, denominator);
    const factors = [2, 3, 5, 7].filter((factor) => divisor % factor === 0 && factor < divisor);
    const by = factors.length > 0 && random.integer(0, 2) === 0 ? random.pick(factors) : divisor;
    const slip = by === divisor ? random.integer(1, 3) : 0;
    return `${numerator / by + slip}/${denominator / by}`;
  },
  vocabulary: ['mod', '*', '/', '=', '<', '>'],
});
