/**
 * `letter_counting`: how often a lower-case letter occurs in a word or a string of letters.
 *
 * Levels: 1, 3 to 5 letters; 2, 6 to 8; 3, 6 to 12. Half of the strings are random letters with the wanted letter
 * put at 0 to 4 random places, a quarter are invented words, a quarter English words (levels 2 and 3).
 *
 * The thought repeats the letter, then spells the string with the count so far after every letter:
 * `s0t0r1a1w1b1e1r2r3y3`. The digits keep the letters apart under any tokenizer that isolates digits, so every
 * letter is one token, and each count depends on the letter and the digit just before it. In the question the
 * string appears as people write it; there a tokenizer must not have merged letters (see the README).
 */
import type { Random } from '@minke/core';
import type { CoreFamily, Difficulty } from '../task-family.ts';
import { inventedWord, words } from './words.ts';

/** The facts of a counting problem: one lower-case letter, and lower-case letters to search. */
export interface LetterCountingFacts {
  readonly letter: string;
  readonly word: string;
}

const alphabet = 'abcdefghijklmnopqrstuvwxyz';
const occurrences = [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4];

const phrases: readonly ((letter: string, word: string) => string)[] = [
  (letter, word) => `How many ${letter} are in ${word}?`,
  (letter, word) => `How many ${letter}'s are in ${word}?`,
  (letter, word) => `How many times does the letter ${letter} appear in ${word}?`,
  (letter, word) => `How many times does ${letter} occur in "${word}"?`,
  (letter, word) => `Count the letter ${letter} in ${word}.`,
  (letter, word) => `Count the ${letter} in "${word}".`,
  (letter, word) => `How often does ${letter} appear in the word ${word}?`,
  (letter, word) => `How many letters ${letter} are there in ${word}?`,
];

function randomString(random: Random, length: number): LetterCountingFacts {
  const letter = random.pick([...alphabet]);
  const others = alphabet.replace(letter, '');
  const wanted = Math.min(random.pick(occurrences), length);
  const letters = Array.from({ length }, (_, i) => (i < wanted ? letter : random.pick([...others])));
  return { letter, word: random.shuffle(letters).join('') };
}

function draw(random: Random, difficulty: Difficulty): LetterCountingFacts {
  const [shortest, longest] = (
    [
      [3, 5],
      [6, 8],
      [6, 12],
    ] as const
  )[difficulty - 1] as readonly [number, number];
  const length = random.integer(shortest, longest + 1);
  const kind = random.uniform();
  if (kind < 0.5) return randomString(random, length);
  let word = inventedWord(random, length);
  if (kind >= 0.75 && difficulty > 1) {
    do word = random.pick(words);
    while (word.length > longest);
  }
  return { letter: random.pick([...(random.uniform() < 0.85 ? word : alphabet)]), word };
}

function count({ letter, word }: LetterCountingFacts): number {
  return word.split(letter).length - 1;
}

/** How often a letter occurs in a string of lower-case letters. */
export const letterCounting: CoreFamily<'letter_counting', LetterCountingFacts> = {
  name: 'letter_counting',
  draw,
  all: () => null,
  canonical: ({ letter, word }) => `letter_counting ${letter}/${word}`,
  ask: ({ letter, word }, random) => random.pick(phrases)(letter, word),
  answer: (facts) => String(count(facts)),
  think(facts, { verify = false }) {
    let seen = 0;
    let spelled = '';
    for (const letter of facts.word) {
      if (letter === facts.letter) seen++;
      spelled += letter + seen;
    }
    const lines = [facts.letter, spelled];
    if (verify)
      lines.push(`check ${Array.from({ length: seen }, (_, i) => i + 1 + facts.letter).join('')} ok`);
    return lines.join('\n');
  },
  templateTexts: () => [...phrases.map((phrase) => phrase('0', '0')), '0\n0000\ncheck 0 ok'],
};
