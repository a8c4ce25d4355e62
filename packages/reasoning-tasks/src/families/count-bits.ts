/**
 * `count_bits`: how many ones the binary form of an integer has.
 *
 * Levels 1 to 4: below 64, 256, 1024 and 4096. The derivation halves, `13=6*2+1`, then adds the remainders. A
 * candidate is checked by taking the binary digits off from the left.
 */
import { makeFamily } from '../task.ts';
import { compared } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** The facts of a count of ones. */
export interface CountBitsFacts {
  readonly value: number;
}

const ones = (value: number) => value.toString(2).replaceAll('0', '').length;

export const countBits = makeFamily<'count_bits', CountBitsFacts, readonly [number, number]>({
  name: 'count_bits',
  levels: [
    [1, 64],
    [32, 256],
    [128, 1024],
    [1024, 4096],
  ],
  make: (random, [from, below]) => ({ value: random.integer(from, below) }),
  form: ({ value }) => String(value),
  phrases: {
    en: [
      'How many 1 bits are there in the binary form of the number {n}?',
      'How many bits of {n} are 1?',
      'Count the ones in the binary form of {n}.',
    ],
    es: ['¿Cuántos unos tiene {n} en binario?', 'Cuenta los unos de {n} en binario.'],
  },
  slots: ({ value }) => ({ n: String(value) }),
  answer: ({ value }) => String(ones(value)),
  read: readInteger,
  steps({ value }) {
    const lines: string[] = [];
    for (let rest = value; rest > 0; rest = Math.floor(rest / 2))
      lines.push(`${rest}=${Math.floor(rest / 2)}*2+${rest % 2}`);
    const digits = [...value.toString(2)];
    return digits.length > 1 ? [...lines, `${digits.reverse().join('+')}=${ones(value)}`] : lines;
  },
  check({ value }, candidate) {
    const powers = [...value.toString(2)].map((bit, i, all) => (bit === '1' ? 2 ** (all.length - 1 - i) : 0));
    const present = powers.filter((power) => power > 0);
    return [`${present.join('+')}=${value}`, compared(present.length, Number(candidate))];
  },
  guess: ({ value }, random) => String(Math.max(0, ones(value) + random.pick([-2, -1, 1, 2]))),
  vocabulary: ['*', '+', '=', '<', '>'],
});
