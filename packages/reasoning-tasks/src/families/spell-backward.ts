/**
 * `spell_backward`: the letters of a word in reverse.
 *
 * Levels 1 to 4: 3 to 4, 5 to 6, 7 to 8 and 9 to 11 letters. The derivation numbers the letters, then lists them from
 * the last number down. A candidate is reversed and set beside the word.
 */
import { makeFamily } from '../task.ts';
import { slip, wordOf } from './letters.ts';
import { readLetters } from './reading.ts';

/** The facts of a word to spell backward. */
export interface SpellBackwardFacts {
  readonly word: string;
}

const reversed = (word: string) => [...word].reverse().join('');
const numbered = (word: string) => [...word].map((letter, i) => `${i + 1}${letter}`);

export const spellBackward = makeFamily<'spell_backward', SpellBackwardFacts, readonly [number, number]>({
  name: 'spell_backward',
  levels: [
    [3, 4],
    [5, 6],
    [7, 8],
    [9, 11],
  ],
  make: (random, lengths) => ({ word: wordOf(random, lengths) }),
  // A word and its mirror image are one problem.
  form: ({ word }) => [word, reversed(word)].sort()[0] as string,
  phrases: {
    en: [
      'Spell {word} backward.',
      'Spell this word backward: {word}',
      'Reverse the letters of {word}.',
      'What is {word} spelled backward?',
    ],
    es: ['Deletrea {word} al revés.', 'Invierte las letras de {word}.'],
  },
  slots: ({ word }) => ({ word }),
  answer: ({ word }) => reversed(word),
  read: readLetters,
  steps: ({ word }) => [numbered(word).join(' '), numbered(word).reverse().join(' ')],
  check: ({ word }, candidate) => [
    `${numbered(reversed(candidate)).join(' ')}`,
    `${reversed(candidate)} ${word}`,
  ],
  guess: ({ word }, random) => slip(random, reversed(word)),
  vocabulary: [':'],
});
