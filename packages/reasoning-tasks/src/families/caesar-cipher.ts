/**
 * `caesar_cipher`: decipher a word whose letters were moved on in the alphabet by a stated number of places.
 *
 * Levels 1 to 4: 3 to 4 letters by up to 3 places; 5 to 6 by 5; 7 to 8 by 12; 10 by 25. The derivation pairs every
 * letter with the one it came from, `k:h`; a candidate is enciphered and set beside the text.
 */
import { makeFamily } from '../task.ts';
import { shifted, slip, wordOf } from './letters.ts';
import { readLetters } from './reading.ts';

/** The facts of a cipher: the plain word and how far its letters are moved. */
export interface CaesarCipherFacts {
  readonly word: string;
  readonly shift: number;
}

const cipher = (word: string, by: number) => [...word].map((letter) => shifted(letter, by)).join('');

export const caesarCipher = makeFamily<'caesar_cipher', CaesarCipherFacts, readonly [number, number, number]>(
  {
    name: 'caesar_cipher',
    levels: [
      [3, 4, 3],
      [5, 6, 5],
      [7, 8, 12],
      [10, 10, 25],
    ],
    make: (random, [least, most, furthest]) => ({
      word: wordOf(random, [least, most]),
      shift: random.integer(1, furthest + 1),
    }),
    form: ({ word, shift }) => `${word}+${shift}`,
    phrases: {
      en: [
        'Decrypt this Caesar cipher text with shift {n}: {text}',
        'Each letter was moved {n} places on in the alphabet. Decipher {text}.',
        'Undo a Caesar shift of {n}: {text}',
      ],
      es: [
        'Descifra {text}, cifrado con un desplazamiento de {n}.',
        'Deshaz el cifrado César de {n}: {text}',
      ],
    },
    slots: ({ word, shift }) => ({ n: String(shift), text: cipher(word, shift) }),
    answer: ({ word }) => word,
    read: readLetters,
    steps: ({ word, shift }) => [[...word].map((letter) => `${shifted(letter, shift)}:${letter}`).join(' ')],
    check: ({ word, shift }, candidate) => [
      [...candidate].map((letter) => `${letter}:${shifted(letter, shift)}`).join(' '),
      `${cipher(candidate, shift)} ${cipher(word, shift)}`,
    ],
    guess: ({ word }, random) => slip(random, word),
    vocabulary: [':'],
  },
);
