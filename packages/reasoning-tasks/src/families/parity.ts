/**
 * `parity`: is the number of ones in a string of bits even or odd?
 *
 * Levels 1 to 4: 8, 12, 16 and 20 bits. Hard to answer at once, easy step by step: the task on which reinforcement
 * lengthens thoughts most visibly (Tsilivis et al. 2025, https://arxiv.org/abs/2510.11495). The derivation writes
 * every bit with the parity so far; a candidate is checked by counting.
 */
import { meaning, speaker } from '../language.ts';
import { makeFamily } from '../task.ts';

/** The facts of a parity question. */
export interface ParityFacts {
  readonly bits: string;
}

const ones = (bits: string) => bits.replaceAll('0', '').length;

export const parity = makeFamily<'parity', ParityFacts, number>({
  name: 'parity',
  levels: [8, 12, 16, 20],
  make: (random, length) => ({
    bits: Array.from({ length }, () => random.integer(0, 2)).join(''),
  }),
  form: ({ bits }) => bits,
  phrases: {
    en: [
      'Is the number of ones in {bits} even or odd?',
      'Parity of {bits}?',
      'Even or odd: how many ones has {bits}?',
    ],
    es: ['¿Es par o impar el número de unos en {bits}?', '¿Paridad de {bits}?'],
  },
  slots: ({ bits }) => ({ bits }),
  answer: ({ bits }) => (ones(bits) % 2 === 0 ? 'even' : 'odd'),
  read: (text) => meaning(text.toLowerCase(), ['even', 'odd']),
  show: (normal, language) => speaker(language)(normal as 'even' | 'odd'),
  steps({ bits }) {
    let so = 0;
    return [
      [...bits]
        .map((bit) => {
          so = (so + Number(bit)) % 2;
          return bit + so;
        })
        .join(' '),
    ];
  },
  check: ({ bits }) => [
    `${[...bits].reverse().join('+')}=${ones(bits)}`,
    `${ones(bits)} mod 2=${ones(bits) % 2}`,
  ],
  guess: (_, random) => random.pick(['even', 'odd']),
  vocabulary: ['+', '=', 'mod', ':'],
});
