/** GPT-2's pattern, `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, by hand. */
import { classAt, generalClasses, letter, lineEnd, number, runEnd, space } from './character-classes.ts';
import { type Scanner, withoutLast } from './scanner.ts';

const rest = 128;

/** Letters, numbers, white space, and all the rest. */
let classes: Uint8Array | undefined;

export class Gpt2Scanner implements Scanner {
  private readonly classes = (classes ??= generalClasses().map(simplified));

  next(bytes: Uint8Array, at: number, end: number): number {
    const { classes } = this;
    const first = bytes[at]!;
    if (first === 0x27) {
      const contraction = contractionEnd(bytes, at, end);
      if (contraction > 0) return contraction;
    }
    // A space goes with what follows it, unless that is white space.
    const start = first === 0x20 && at + 1 < end ? at + 1 : at;
    const kind = classAt(classes, bytes, start);
    if (kind !== space) return runEnd(classes, bytes, start, end, kind);
    const run = runEnd(classes, bytes, at, end, space);
    return withoutLast(bytes, at, run, run === end);
  }
}

function simplified(flags: number): number {
  const kept = flags & (letter | number);
  return kept !== 0 ? kept : (flags & (space | lineEnd)) !== 0 ? space : rest;
}

/** End of 's, 'd, 'm, 't, 'll, 've or 're, or 0. */
function contractionEnd(bytes: Uint8Array, at: number, end: number): number {
  if (at + 1 >= end) return 0;
  const second = bytes[at + 1]!;
  if (second === 0x73 || second === 0x64 || second === 0x6d || second === 0x74) return at + 2;
  if (at + 2 >= end) return 0;
  const third = bytes[at + 2]!;
  if (second === 0x6c && third === 0x6c) return at + 3;
  return third === 0x65 && (second === 0x76 || second === 0x72) ? at + 3 : 0;
}
