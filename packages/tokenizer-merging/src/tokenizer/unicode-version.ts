/**
 * Freezes the Unicode version of pre-tokenization at that of Hugging Face `tokenizers` 0.23 (Unicode 16), so
 * that a text gets the same ids in every JavaScript engine, whatever newer characters the engine knows.
 *
 * A character that the frozen version lacks and the engine has is shown to the patterns as U+FDD0 or U+1FFFE, which no
 * version will ever assign, and put back into the pieces. Only additions are frozen: the few characters whose
 * category changes between versions follow the engine.
 */
import { unassignedRanges } from './unassigned.gen.ts';

/** Characters that the frozen version lacks and the engine has, which are none where both know the same version. */
const newer = new RegExp(`(?!\\p{Cn})[${classOf(decodedRanges())}]`, 'gu');
/** Every such character lies beyond this; most texts have nothing there but their accents. */
const firstUnassigned = /[\u0378-\u{10ffff}]/u;

/** Runs `split` on text without newer characters, giving the pieces with their own characters. */
export function withFrozenUnicode(
  text: string,
  split: (text: string, emit: (piece: string) => void) => void,
  emit: (piece: string) => void,
): void {
  const found = firstUnassigned.test(text) ? text.match(newer) : null;
  if (found === null) {
    split(text, emit);
    return;
  }
  let next = 0;
  // The stand-ins may be in the text, too: each is put back as what stood in its place.
  const originals = text.match(/[\ufdd0\u{1fffe}]/gu) === null ? found : inOrder(text);
  split(
    text.replace(newer, (char) => (char.length === 1 ? '\ufdd0' : '\u{1fffe}')),
    (piece) => emit(piece.replace(/[\ufdd0\u{1fffe}]/gu, () => originals[next++]!)),
  );
}

/** Newer characters and stand-ins as they follow each other. */
function inOrder(text: string): string[] {
  return text.match(new RegExp(`${newer.source}|[\\ufdd0\\u{1fffe}]`, 'gu')) ?? [];
}

/** Ranges [first, last] of code points that the frozen version has not assigned, ascending. */
export function decodedRanges(): [first: number, last: number][] {
  const words = unassignedRanges.split(' ').map((word) => Number.parseInt(word, 36));
  const ranges: [number, number][] = [];
  let last = 0;
  for (let i = 0; i < words.length; i += 2) {
    const first = last + words[i]!;
    last = first + words[i + 1]!;
    ranges.push([first, last]);
  }
  return ranges;
}

function classOf(ranges: readonly (readonly [number, number])[]): string {
  return ranges.map(([first, last]) => `\\u{${first.toString(16)}}-\\u{${last.toString(16)}}`).join('');
}
