/** Drawing and spelling strings of letters for the families that work on words. */
import type { Random } from '@minke/core';
import { isStepWord } from '../language.ts';
import { inventedWord } from './words.ts';

/** The lower-case letters in order. */
export const alphabet = 'abcdefghijklmnopqrstuvwxyz';

/** An invented word of `least` to `most` letters. */
export function wordOf(random: Random, [least, most]: readonly [number, number]): string {
  for (;;) {
    const word = inventedWord(random, random.integer(least, most + 1));
    if (!isStepWord(word)) return word;
  }
}

/** A letter `by` places further on, round the end of the alphabet. */
export function shifted(letter: string, by: number): string {
  return alphabet[(alphabet.indexOf(letter) + by + 52) % 26] as string;
}

/** The word with two neighbouring letters exchanged, or one letter replaced: what a slip looks like. */
export function slip(random: Random, word: string): string {
  const letters = [...word];
  const at = random.integer(0, letters.length);
  if (at > 0 && random.integer(0, 2) === 0)
    [letters[at - 1], letters[at]] = [letters[at] as string, letters[at - 1] as string];
  else letters[at] = shifted(letters[at] as string, random.pick([-1, 1]));
  return letters.join('');
}
