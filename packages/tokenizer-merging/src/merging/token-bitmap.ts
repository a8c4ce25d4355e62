/**
 * Sets of a vocabulary's tokens: a byte for each id, 1 for those in it. As rows of a batch, and as text for settings.
 */
import { MinkeError } from '@minke/core';

/**
 * 1 for rows whose token is in the bitmap, [T]; ids outside of it are not.
 *
 * @example
 * merger.forward(h, { protect: tokenRows(ids, criticalTokens(tokenizer)) });
 */
export function tokenRows(ids: ArrayLike<number>, bitmap: Uint8Array): Uint8Array {
  return Uint8Array.from(ids, (id) => bitmap[id] ?? 0);
}

/** A bitmap as text: base64 of a bit for each token, id 8 i + j in bit j of byte i. */
export function tokenBitmapText(bitmap: Uint8Array): string {
  const bytes = new Uint8Array(Math.ceil(bitmap.length / 8));
  bitmap.forEach((bit, id) => {
    if (bit) bytes[id >> 3] = (bytes[id >> 3] as number) | (1 << (id & 7));
  });
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** What `tokenBitmapText` wrote, [vocabSize]. Throws `invalid-config` for text that is no bitmap of so many tokens. */
export function parseTokenBitmap(text: string, vocabSize: number): Uint8Array {
  const problem = tokenBitmapProblem(text, vocabSize);
  if (problem !== null) throw new MinkeError('invalid-config', `parseTokenBitmap: expected ${problem}`);
  const binary = atob(text);
  return Uint8Array.from({ length: vocabSize }, (_, id) => (binary.charCodeAt(id >> 3) >> (id & 7)) & 1);
}

/** What is wrong with text that should be a bitmap of so many tokens, as "expected" continues it; null for nothing. */
export function tokenBitmapProblem(text: string, vocabSize: number): string | null {
  const expected = Math.ceil(vocabSize / 8);
  const bytes = base64Bytes(text);
  if (bytes === expected) return null;
  const found = bytes === null ? 'text that is none' : `${bytes} bytes`;
  return `base64 of ${expected} bytes, a bit for each of ${vocabSize} tokens, got ${found}`;
}

function base64Bytes(text: string): number | null {
  try {
    return atob(text).length;
  } catch {
    return null;
  }
}
