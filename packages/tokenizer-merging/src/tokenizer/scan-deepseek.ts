/**
 * DeepSeek-V3's three patterns by hand: digits, then runs of Han and kana, then, inside of these runs and between them,
 *
 *     [ASCII sign][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * so that a cut of the first two is the end of the text to the third. What no alternative takes (control and format
 * characters, private use) stays together up to the next match, as whatever lies between matches does.
 */
import {
  classAt,
  generalClasses,
  letter,
  lineEnd,
  mark,
  number,
  punctuation,
  runEnd,
  space,
  symbol,
  widthOf,
} from './character-classes.ts';
import { numberEnd } from './scan-words.ts';
import { type Scanner, whiteSpaceEnd } from './scanner.ts';

// Flags of this scan: letters and marks, signs, and the same in the ranges of Han and kana; `number`, `space` and
// `lineEnd` are those of character-classes.ts, and characters of no class have none.
const word = 1;
const sign = 8;
const hanWord = 2;
const hanSign = 16;
const hanRest = 128;
const han = hanWord | hanSign | hanRest;

let classes: Uint8Array | undefined;

export class DeepseekScanner implements Scanner {
  private readonly classes = (classes ??= withHan(generalClasses()));

  /** `digits`: how many stay together at most. */
  constructor(private readonly digits: number) {}

  next(bytes: Uint8Array, at: number, end: number): number {
    const { classes } = this;
    const first = bytes[at]!;
    const kind = classAt(classes, bytes, at);
    if (kind === word) return runEnd(classes, bytes, at, end, word);
    if (kind === number) return numberEnd(classes, bytes, at, end, this.digits);
    if ((kind & (hanWord | hanSign)) !== 0) return runEnd(classes, bytes, at, end, kind);
    const after = at + widthOf(first);
    if (kind === sign) {
      if (first < 0x80 && after < end && isAsciiLetter(bytes[after]!))
        return asciiLettersEnd(bytes, after, end);
      return signsEnd(classes, bytes, at, end);
    }
    if (kind === hanRest) return this.restEnd(bytes, after, end, hanRest, hanWord);
    if (kind === 0) return this.restEnd(bytes, after, end, 0, word);
    if (kind === space && after < end) {
      const following = classAt(classes, bytes, after);
      if (following === word) return runEnd(classes, bytes, after, end, word);
      if (first === 0x20 && following === sign) return signsEnd(classes, bytes, after, end);
    }
    return whiteSpaceEnd(classes, bytes, at, end, number | han);
  }

  /** A character that no alternative takes by itself ended at `from`: it goes before a word, or with others like it. */
  private restEnd(bytes: Uint8Array, from: number, end: number, rest: number, words: number): number {
    const { classes } = this;
    let at = from;
    if (at < end && classAt(classes, bytes, at) === words) return runEnd(classes, bytes, at, end, words);
    while (at < end && classAt(classes, bytes, at) === rest) {
      const after = at + widthOf(bytes[at]!);
      // That one goes with the word.
      if (after < end && classAt(classes, bytes, after) === words) break;
      at = after;
    }
    return at;
  }
}

function signsEnd(classes: Uint8Array, bytes: Uint8Array, at: number, end: number): number {
  return runEnd(classes, bytes, runEnd(classes, bytes, at, end, sign), end, lineEnd);
}

function isAsciiLetter(byte: number): boolean {
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x7a;
}

function asciiLettersEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && isAsciiLetter(bytes[at]!)) at++;
  return at;
}

function withHan(general: Uint8Array): Uint8Array {
  const classes = general.map((flags) => {
    if ((flags & (letter | mark)) !== 0) return word;
    return (flags & (punctuation | symbol)) !== 0 ? sign : flags;
  });
  for (const [first, last] of [
    [0x3040, 0x30ff],
    [0x4e00, 0x9fa5],
  ] as const)
    for (let point = first; point <= last; point++)
      classes[point] = classes[point] === word ? hanWord : classes[point] === sign ? hanSign : hanRest;
  return classes;
}
