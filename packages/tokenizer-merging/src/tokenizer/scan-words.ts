/**
 * The pattern of Llama 3, Qwen2 and GPT-4 by hand; they differ in how many digits stay together (`\p{N}{1,3}`, `\p{N}`):
 *
 *     (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 */
import {
  classAt,
  generalClasses,
  letter,
  lineEnd,
  number,
  runEnd,
  space,
  widthOf,
} from './character-classes.ts';
import { type Scanner, whiteSpaceEnd } from './scanner.ts';

const rest = 128;

/** Letters, numbers, white space, ends of lines, and all the rest. */
let classes: Uint8Array | undefined;

export class WordsScanner implements Scanner {
  private readonly classes = (classes ??= generalClasses().map(simplified));

  /** `digits`: how many stay together at most. */
  constructor(private readonly digits: number) {}

  next(bytes: Uint8Array, at: number, end: number): number {
    const { classes } = this;
    const first = bytes[at]!;
    if (first === 0x27) {
      const contraction = contractionEnd(bytes, at, end);
      if (contraction > 0) return contraction;
    }
    const kind = classAt(classes, bytes, at);
    if (kind === letter) return runEnd(classes, bytes, at, end, letter);
    if (kind === number) return numberEnd(classes, bytes, at, end, this.digits);
    const after = at + widthOf(first);
    if (kind !== lineEnd && after < end) {
      const following = classAt(classes, bytes, after);
      if (following === letter) return runEnd(classes, bytes, after, end, letter);
      if (first === 0x20 && following === rest) return signsEnd(classes, bytes, after, end);
    }
    if (kind === rest) return signsEnd(classes, bytes, at, end);
    return whiteSpaceEnd(classes, bytes, at, end, 0);
  }
}

/** Where up to `most` characters of class `number` end. */
export function numberEnd(
  classes: Uint8Array,
  bytes: Uint8Array,
  at: number,
  end: number,
  most: number,
): number {
  let next = at;
  for (let count = 0; count < most && next < end && classAt(classes, bytes, next) === number; count++)
    next += widthOf(bytes[next]!);
  return next;
}

function signsEnd(classes: Uint8Array, bytes: Uint8Array, at: number, end: number): number {
  return runEnd(classes, bytes, runEnd(classes, bytes, at, end, rest), end, lineEnd);
}

function simplified(flags: number): number {
  const kept = flags & (letter | number | space | lineEnd);
  return kept !== 0 ? kept : rest;
}

/** End of 's, 't, 're, 've, 'm, 'll or 'd in any case (the long s, U+017F, is one of them), or 0. */
function contractionEnd(bytes: Uint8Array, at: number, end: number): number {
  if (at + 1 >= end) return 0;
  const second = bytes[at + 1]! | 0x20;
  if (second === 0x73 || second === 0x74 || second === 0x6d || second === 0x64) return at + 2;
  if (at + 2 >= end) return 0;
  if (bytes[at + 1] === 0xc5 && bytes[at + 2] === 0xbf) return at + 3;
  const third = bytes[at + 2]! | 0x20;
  if (second === 0x6c && third === 0x6c) return at + 3;
  return third === 0x65 && (second === 0x76 || second === 0x72) ? at + 3 : 0;
}
