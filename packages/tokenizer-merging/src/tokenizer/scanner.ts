/**
 * Hand-written scans of the published split patterns, over UTF-8: several times as fast as the regular expressions, and
 * without a string for each piece. `scanner.test.ts` compares both on fuzzed text; patterns without a scan keep theirs.
 */
import { classAt, lineEnd, runEnd, space } from './character-classes.ts';

/** Cuts UTF-8 text into the pieces that a pre-tokenizer gives. */
export interface Scanner {
  /** End of the piece that begins at `at`, in `bytes` up to `end`, which must be UTF-8. `at` is below `end`. */
  next(bytes: Uint8Array, at: number, end: number): number;
}

/**
 * Where `\s*[\r\n]+|\s+(?!\S)|\s+` ends that begins at `at`, which is white space: behind the last end of line of the
 * run; else before its last character, which belongs to what follows; a run at the end of the text is one piece, and so
 * is a single character. Characters with a flag of `stops` are the end of the text to the pattern.
 */
export function whiteSpaceEnd(
  classes: Uint8Array,
  bytes: Uint8Array,
  at: number,
  end: number,
  stops: number,
): number {
  const run = runEnd(classes, bytes, at, end, space | lineEnd);
  for (let last = run - 1; last >= at; last--)
    if (bytes[last] === 0x0a || bytes[last] === 0x0d) return last + 1;
  return withoutLast(bytes, at, run, run === end || (classAt(classes, bytes, run) & stops) !== 0);
}

/** Where `\s+(?!\S)|\s+` ends for the run [at, run). */
export function withoutLast(bytes: Uint8Array, at: number, run: number, ends: boolean): number {
  if (ends) return run;
  let last = run - 1;
  while ((bytes[last]! & 0xc0) === 0x80) last--;
  return last > at ? last : run;
}
