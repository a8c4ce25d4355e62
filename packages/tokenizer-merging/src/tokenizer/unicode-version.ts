/**
 * Freezes the Unicode version of pre-tokenization at that of Hugging Face `tokenizers` 0.23 (Unicode 16), so
 * that a text gets the same ids in every JavaScript engine, whatever newer characters the engine knows.
 *
 * A character that the frozen version lacks is shown to the patterns as U+FDD0 or U+1FFFE, which no version
 * will ever assign, and put back into the pieces. Only additions are frozen: the few characters whose
 * category changes between versions follow the engine.
 */
import { unassignedRanges } from './unassigned.gen.ts';

const unassigned = new RegExp(`[${decodeRanges(unassignedRanges)}]`, 'gu');
/** Every such character lies beyond this; most texts have nothing there but their accents. */
const firstUnassigned = /[\u0378-\u{10ffff}]/u;

/** Runs `split` on text without newer characters, giving the pieces with their own characters. */
export function withFrozenUnicode(
  text: string,
  split: (text: string, emit: (piece: string) => void) => void,
  emit: (piece: string) => void,
): void {
  const newer = firstUnassigned.test(text) ? text.match(unassigned) : null;
  if (newer === null) {
    split(text, emit);
    return;
  }
  let next = 0;
  split(
    text.replace(unassigned, (char) => (char.length === 1 ? '\ufdd0' : '\u{1fffe}')),
    (piece) => emit(piece.replace(/[\ufdd0\u{1fffe}]/gu, () => newer[next++]!)),
  );
}

function decodeRanges(table: string): string {
  const words = table.split(' ').map((word) => Number.parseInt(word, 36));
  let last = 0;
  let out = '';
  for (let i = 0; i < words.length; i += 2) {
    const first = last + words[i]!;
    last = first + words[i + 1]!;
    out += `\\u{${first.toString(16)}}-\\u{${last.toString(16)}}`;
  }
  return out;
}
