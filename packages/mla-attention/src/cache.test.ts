import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { packSequences, packShared } from './batch.ts';
import { ExpandedCache, LatentCache } from './cache.ts';

const backend = createReference();
const numbers = (tensor: { readSync(): ArrayLike<number> }) => Array.from(tensor.readSync());

describe('packed sequences', () => {
  it('number positions from 0 and let each token see its own sequence up to itself', () => {
    const batch = packSequences(new Arena(backend), [3, 0, 2]);
    expect(numbers(batch.positions)).toEqual([0, 1, 2, 0, 1]);
    expect(numbers(batch.ranges)).toEqual([0, 1, 0, 2, 0, 3, 3, 4, 3, 5]);
    expect(batch.segments?.map(({ sequence, start, count }) => [sequence, start, count])).toEqual([
      [0, 0, 3],
      [2, 3, 2],
    ]);
  });

  it('compute a beginning that neighbours share once', () => {
    using arena = new Arena(backend);
    const one = { length: 3, prefix: 2 };
    const { batch, tokens } = packShared(arena, [
      { ...one, shared: false },
      { length: 4, prefix: 2, shared: true },
      { ...one, shared: false },
    ]);
    expect([...tokens]).toEqual([0, 1, 2, 5, 6, 7, 8, 9]);
    expect([...batch.shared.rowOf]).toEqual([0, 1, 2, 0, 1, 3, 4, 5, 6, 7]);
    expect(numbers(batch.shared.keyRows)).toEqual([...batch.shared.rowOf]);
    expect(numbers(batch.positions)).toEqual([0, 1, 2, 2, 3, 0, 1, 2]);
    expect(numbers(batch.ranges)).toEqual([0, 1, 0, 2, 0, 3, 3, 6, 3, 7, 7, 8, 7, 9, 7, 10]);
    expect(batch.segments?.map(({ start, count, prefix }) => [start, count, prefix?.start])).toEqual([
      [2, 1, 0],
      [3, 2, 0],
      [7, 1, 5],
    ]);
    expect(() => packShared(arena, [{ length: 2, prefix: 2, shared: false }])).toThrow(/got 2 of 2/);
  });

  it('may be empty', () => {
    expect(packSequences(new Arena(backend), []).positions.shape).toEqual([0]);
  });
});

describe('a cache', () => {
  it('gives each sequence its own region, and new tokens the rows after those it holds', () => {
    using cache = new LatentCache(backend, { layers: 2, sequences: 3, maxTokens: 10, width: 4 });
    using arena = new Arena(backend);
    cache.append(arena, [{ sequence: 2, count: 2, role: 'prompt' }]);
    const batch = cache.append(arena, [
      { sequence: 0, count: 2, role: 'prompt' },
      { sequence: 1, count: 1, role: 'prompt' },
      { sequence: 2, count: 2, role: 'generated' },
    ]);
    expect(numbers(batch.positions)).toEqual([0, 1, 0, 2, 3]);
    expect(numbers(batch.cached!.rows)).toEqual([0, 1, 10, 22, 23]);
    expect(numbers(batch.cached!.ranges)).toEqual([0, 1, 0, 2, 10, 11, 20, 23, 20, 24]);
    expect(numbers(batch.ranges)).toEqual([0, 1, 0, 2, 2, 3, 0, 3, 0, 4]);
    expect(batch.cached!.runs.map(({ start, count, fresh }) => [start, count, fresh])).toEqual([
      [0, 3, true],
      [3, 2, false],
    ]);
    expect([0, 1, 2].map((sequence) => cache.length(sequence))).toEqual([2, 1, 4]);
  });

  it('describes the next token of as many sequences in the tensors of a batch it made before', () => {
    using cache = new LatentCache(backend, { sequences: 3, maxTokens: 10, width: 4 });
    using arena = new Arena(backend);
    cache.append(arena, [
      { sequence: 0, count: 2, role: 'prompt' },
      { sequence: 2, count: 5, role: 'prompt' },
    ]);
    const next = (sequence: number) => ({ sequence, count: 1, role: 'generated' as const });
    const batch = cache.append(arena, [next(0), next(2)]);
    cache.appendAgain(batch, [2, 1]);
    const fresh = [batch.positions, batch.ranges, batch.cached!.rows, batch.cached!.ranges].map(numbers);
    expect(fresh).toEqual([
      [6, 0],
      [0, 7, 0, 1],
      [26, 10],
      [20, 27, 10, 11],
    ]);
    expect([0, 1, 2].map((sequence) => cache.length(sequence))).toEqual([3, 1, 7]);
    expect(() => cache.appendAgain(batch, [0])).toThrow(/appendAgain: expected a batch of 1 sequences/);
    expect(() => cache.appendAgain(batch, [1, 1])).toThrow(/each sequence once/);
  });

  it('copies the first tokens of a sequence to another, in every layer', () => {
    using cache = new LatentCache(backend, { layers: 2, sequences: 2, maxTokens: 3, width: 1 });
    using arena = new Arena(backend);
    const { cached } = cache.append(arena, [{ sequence: 1, count: 3, role: 'prompt' }]);
    for (const layer of [0, 1]) cache.write(layer, arena.tensor([1, 2, 3], [3, 1]), cached!.rows);
    cache.copySequence(arena, 1, 0, 2);
    expect(cache.length(0)).toBe(2);
    for (const layer of [0, 1]) expect(numbers(cache.latents(layer))).toEqual([1, 2, 0, 1, 2, 3]);
    expect(() => cache.copySequence(arena, 0, 1, 3)).toThrow(/length from 0 to 2, got 0 to 1 and 3/);
    expect(() => cache.copySequence(arena, 0, 0, 1)).toThrow(/expected another sequence/);
  });

  it('shares the first tokens of a sequence with another, which then has rows of its own', () => {
    using cache = new ExpandedCache(backend, {
      sequences: 4,
      maxTokens: 10,
      heads: 1,
      keyWidth: 1,
      valueWidth: 1,
    });
    using arena = new Arena(backend);
    const next = (sequence: number) => ({ sequence, count: 1, role: 'generated' as const });
    const { cached } = cache.append(arena, [{ sequence: 1, count: 3, role: 'prompt' }]);
    const x = arena.tensor([1, 2, 3], [3, 1, 1]);
    cache.write(0, x, x, cached!.rows);
    cache.shareSequence(1, 2, 3);
    expect([cache.shares([0, 3]), cache.shares([0, 2]), cache.shares([1])]).toEqual([false, true, true]);
    const batch = cache.append(arena, [next(0), next(1), next(2)]);
    expect(numbers(batch.cached!.rows)).toEqual([0, 13, 23]);
    expect(batch.cached!.ranges.shape).toEqual([3, 4]);
    expect(numbers(batch.cached!.ranges)).toEqual([0, 0, 0, 1, 10, 13, 13, 14, 10, 13, 23, 24]);
    const y = arena.tensor([4, 5, 6], [3, 1, 1]);
    cache.write(0, y, y, batch.cached!.rows);
    cache.copySequence(arena, 2, 3, 4);
    expect(numbers(cache.keys(0)).slice(30, 34)).toEqual([1, 2, 3, 6]);
    expect([1, 2, 3].map((sequence) => cache.lends(sequence))).toEqual([true, false, false]);
    expect(() => cache.truncate(1, 2)).toThrow(
      /at least 3 tokens of sequence 1, which others read too, got 2/,
    );
    expect(() => cache.shareSequence(2, 3, 3)).toThrow(/tokens of 1 for 2/);
    expect(() => cache.copySequence(arena, 3, 1, 1)).toThrow(/whose rows no other reads, got 1/);
    cache.truncate(2, 0);
    cache.truncate(1, 2);
    expect(cache.append(arena, [next(1)]).cached!.ranges.shape).toEqual([1, 2]);
    using latents = new LatentCache(backend, { sequences: 2, maxTokens: 3, width: 1 });
    latents.append(arena, [next(0)]);
    expect(() => latents.shareSequence(0, 1, 1)).toThrow(/expected a cache that shares/);
  });

  it('refuses more tokens than it has room for, reserving none', () => {
    using cache = new ExpandedCache(backend, {
      sequences: 2,
      maxTokens: 4,
      heads: 1,
      keyWidth: 2,
      valueWidth: 2,
    });
    using arena = new Arena(backend);
    const requests = [
      { sequence: 0, count: 2, role: 'prompt' },
      { sequence: 1, count: 5, role: 'prompt' },
    ] as const;
    expect(() => cache.append(arena, requests)).toThrowError(
      expect.objectContaining({ code: 'context-overflow', message: expect.stringContaining('got 0 + 5') }),
    );
    expect(cache.length(0)).toBe(0);
  });

  it('truncates and clears', () => {
    using cache = new LatentCache(backend, { maxTokens: 4, width: 2 });
    using arena = new Arena(backend);
    cache.append(arena, [{ sequence: 0, count: 4, role: 'prompt' }]);
    cache.truncate(0, 1);
    expect(numbers(cache.append(arena, [{ sequence: 0, count: 1, role: 'generated' }]).positions)).toEqual([
      1,
    ]);
    expect(() => cache.truncate(0, 3)).toThrow(/from 0 to 2, got 3/);
    cache.clear();
    expect(cache.length(0)).toBe(0);
  });

  it('refuses wrong sequences, counts, layers and sizes', () => {
    using cache = new LatentCache(backend, { maxTokens: 4, width: 2 });
    using arena = new Arena(backend);
    const append = (sequence: number, count: number) => () =>
      cache.append(arena, [{ sequence, count, role: 'prompt' }]);
    expect(append(1, 1)).toThrow(/sequence below 1, got 1/);
    expect(append(0, 0)).toThrow(/count of 1 or more, got 0/);
    expect(() =>
      cache.append(arena, [
        { sequence: 0, count: 1, role: 'prompt' },
        { sequence: 0, count: 1, role: 'prompt' },
      ]),
    ).toThrow(/each sequence once/);
    expect(() => cache.latents(1)).toThrow(/layer below 1, got 1/);
    expect(() => new LatentCache(backend, { maxTokens: 0, width: 2 })).toThrow(/maxTokens of 1 or more/);
  });

  it('gives its memory back', () => {
    const own = createReference();
    const before = own.memoryUse().bytes;
    const cache = new LatentCache(own, { layers: 3, sequences: 2, maxTokens: 8, width: 5 });
    expect(cache.bytes).toBe(3 * 2 * 8 * 5 * 4);
    expect(own.memoryUse().bytes).toBeGreaterThanOrEqual(cache.bytes);
    cache.dispose();
    expect(own.memoryUse().bytes).toBe(before);
  });
});
