// Sets of tokens: as rows of a batch, and as text.
import { describe, expect, it } from 'vitest';
import { normals } from '../testing/numbers.ts';
import { parseTokenBitmap, tokenBitmapText, tokenRows } from './index.ts';

it('marks the rows of its tokens', () => {
  expect([...tokenRows([2, 0, 3, 2], Uint8Array.of(0, 1, 1))]).toEqual([1, 0, 0, 1]);
});

describe('bitmaps as text', () => {
  it.each([1, 8, 61, 4096])('come back, of %i tokens', (vocabSize) => {
    const bitmap = Uint8Array.from(normals(vocabSize, 3), (x) => Number(x > 0));
    expect(parseTokenBitmap(tokenBitmapText(bitmap), vocabSize)).toEqual(bitmap);
  });

  it('are refused where they do not fit', () => {
    expect(() => parseTokenBitmap('!', 8)).toThrow(
      /base64 of 1 bytes, a bit for each of 8 tokens, got text that is none/,
    );
    expect(() => parseTokenBitmap(tokenBitmapText(new Uint8Array(8)), 9)).toThrow(
      /base64 of 2 bytes.*got 1 bytes/,
    );
  });
});
