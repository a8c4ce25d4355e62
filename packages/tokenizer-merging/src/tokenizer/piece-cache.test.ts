import { expect, it } from 'vitest';
import { IdBuffer } from './id-buffer.ts';
import { hashOf, PieceCache } from './piece-cache.ts';

const utf8 = new TextEncoder();

function keep(cache: PieceCache, piece: string, ids: number[], hash?: number): void {
  const bytes = utf8.encode(piece);
  const known = hash ?? hashOf(bytes, 0, bytes.length);
  if (read(cache, piece, hash) === undefined)
    cache.keep(bytes, 0, bytes.length, known, Int32Array.from(ids), ids.length);
}

/** From the middle of a text, as the tokenizer reads. */
function read(cache: PieceCache, piece: string, hash?: number): number[] | undefined {
  const bytes = utf8.encode(`x${piece}x`);
  const out = new IdBuffer(1);
  const found = cache.read(bytes, 1, bytes.length - 1, hash ?? hashOf(bytes, 1, bytes.length - 1), out);
  return found ? [...out.toArray()] : undefined;
}

it('keeps recent pieces, forgets old ones and never holds more than two generations', () => {
  const cache = new PieceCache(10);
  keep(cache, 'often', [7]);
  for (let i = 0; i < 1000; i++) {
    keep(cache, `piece ${i}`, [i, i + 1, i * 3]);
    expect(read(cache, 'often')).toEqual([7]);
  }
  const kept = Array.from({ length: 1000 }, (_, i) => i).filter(
    (i) => read(cache, `piece ${i}`) !== undefined,
  );
  expect(kept.length).toBeGreaterThan(0);
  for (const i of kept) expect(read(cache, `piece ${i}`)).toEqual([i, i + 1, i * 3]);
  expect(cache.size).toBeLessThanOrEqual(20);
  keep(cache, 'x'.repeat(200), [1]);
  expect(read(cache, 'x'.repeat(200))).toBeUndefined();
});

it('tells pieces of one hash apart, and keeps only some of them', () => {
  const cache = new PieceCache();
  const pieces = Array.from({ length: 100 }, (_, i) => `p${i}`);
  pieces.forEach((piece, i) => {
    keep(cache, piece, [i], 12345);
  });
  const found = pieces.map((piece) => read(cache, piece, 12345));
  expect(found.slice(0, 4)).toEqual([[0], [1], [2], [3]]);
  expect(found.filter(Boolean).length).toBeLessThan(20);
  found.forEach((ids, i) => {
    if (ids !== undefined) expect(ids).toEqual([i]);
  });
});

it('grows with what it holds, and holds pieces without ids', () => {
  const cache = new PieceCache();
  for (let i = 0; i < 30_000; i++) keep(cache, `${i}`, i % 7 === 0 ? [] : [i]);
  let known = 0;
  for (let i = 0; i < 30_000; i++) {
    const ids = read(cache, `${i}`);
    if (ids === undefined) continue;
    known++;
    expect(ids).toEqual(i % 7 === 0 ? [] : [i]);
  }
  expect(known).toBeGreaterThan(29_000);
});
