/**
 * `palindrome_generation`: arrange given letters to a word that reads the same from both ends.
 *
 * Levels 1 to 4: 4 to 6, 7 to 8, 9 to 10 and 11 to 13 letters. Any arrangement that uses exactly the letters is right.
 * The derivation counts the letters, then writes one of each pair, the middle, and the mirror image.
 */
import { makeFamily } from '../task.ts';
import { alphabet } from './letters.ts';
import { readLetters } from './reading.ts';

/** The facts of a palindrome: its letters in the order of the question. */
export interface PalindromeGenerationFacts {
  readonly letters: string;
}

const reversed = (word: string) => [...word].reverse().join('');
const sorted = (word: string) => [...word].sort().join('');
const counts = (letters: string) =>
  [...new Set(sorted(letters))].map((letter) => [letter, letters.split(letter).length - 1] as const);

function halves(letters: string): { half: string; middle: string } {
  const pairs = counts(letters);
  return {
    half: pairs.map(([letter, count]) => letter.repeat(Math.floor(count / 2))).join(''),
    middle: pairs.find(([, count]) => count % 2 === 1)?.[0] ?? '',
  };
}

export const palindromeGeneration = makeFamily<
  'palindrome_generation',
  PalindromeGenerationFacts,
  readonly [number, number]
>({
  name: 'palindrome_generation',
  levels: [
    [4, 6],
    [7, 8],
    [9, 10],
    [11, 13],
  ],
  make(random, [least, most]) {
    const length = random.integer(least, most + 1);
    const half = Array.from({ length: Math.floor(length / 2) }, () => random.pick([...alphabet]));
    const middle = length % 2 === 1 ? [random.pick([...alphabet])] : [];
    return { letters: random.shuffle([...half, ...middle, ...half]).join('') };
  },
  form: ({ letters }) => sorted(letters),
  phrases: {
    en: [
      'Rearrange these letters to form a palindrome: {letters}',
      'Make a palindrome from the letters {letters}.',
      'Put the letters {letters} in an order that reads the same from both ends.',
    ],
    es: ['Forma un palíndromo con las letras {letters}.', 'Ordena {letters} para que sea un palíndromo.'],
  },
  slots: ({ letters }) => ({ letters: [...letters].join(' ') }),
  answer({ letters }) {
    const { half, middle } = halves(letters);
    return half + middle + reversed(half);
  },
  read: (text) => readLetters(text.replaceAll(/(?<=[a-z]),? (?=[a-z])/gi, '')),
  accepts: ({ letters }, normal) => normal === reversed(normal) && sorted(normal) === sorted(letters),
  steps({ letters }) {
    const { half, middle } = halves(letters);
    const counted = counts(letters).map(([letter, count]) => `${count}${letter}`);
    return [counted.join(' '), `${half} ${middle} ${reversed(half)}`.replace('  ', ' ')];
  },
  check: ({ letters }, candidate) => [
    `${candidate} ${reversed(candidate)}`,
    `${sorted(candidate)} ${sorted(letters)}`,
  ],
  guess({ letters }, random) {
    const { half, middle } = halves(letters);
    const shuffled = random.shuffle([...half]).join('');
    return random.integer(0, 2) === 0 ? shuffled + middle + shuffled : middle + shuffled + reversed(shuffled);
  },
  vocabulary: [':'],
});
