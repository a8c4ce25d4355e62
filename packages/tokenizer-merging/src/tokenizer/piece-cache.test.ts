import { expect, it } from 'vitest';
import { PieceCache } from './piece-cache.ts';

it('keeps recent pieces, forgets old ones and never holds more than two generations', () => {
  const cache = new PieceCache(10);
  const ids = Int32Array.of(1);
  cache.set('often', ids);
  for (let i = 0; i < 1000; i++) {
    cache.set(`piece ${i}`, ids);
    expect(cache.get('often')).toBe(ids);
  }
  const kept = Array.from({ length: 1000 }, (_, i) => cache.get(`piece ${i}`)).filter(Boolean);
  expect(kept.length).toBeGreaterThan(0);
  expect(kept.length).toBeLessThanOrEqual(20);
  cache.set('x'.repeat(100), ids);
  expect(cache.get('x'.repeat(100))).toBeUndefined();
});
