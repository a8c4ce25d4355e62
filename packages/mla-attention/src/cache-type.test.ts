// Caches that are stored rounded.
import { type Backend, byteLength, Random } from '@minke/core';
import { createNative, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { Arena, PackedWeights } from '@minke/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { type AttentionCache, ExpandedCache, LatentCache } from './cache.ts';
import { cachedRowBytes } from './cache-type.ts';
import { GroupedQueryAttention } from './gqa.ts';
import { MultiHeadLatentAttention } from './mla.ts';
import type { MlaConfig } from './mla-config.ts';
import { distance, normals } from './testing/tensors.ts';

const config: MlaConfig = {
  hiddenSize: 20,
  numHeads: 3,
  qLoraRank: null,
  kvLoraRank: 32,
  qkNopeHeadDim: 8,
  qkRopeHeadDim: 10,
  vHeadDim: 6,
  maxPositions: 512,
};
const reference = createReference();
const backends: [string, Backend][] = [['reference', reference]];
if (nativeAvailable().available) backends.push(['native', await createNative({ threads: 2 })]);
afterAll(() => {
  for (const [, backend] of backends) backend.dispose();
});

const layer = (backend: Backend) => MultiHeadLatentAttention.init(config, { backend, seed: 1, std: 0.3 });
const T = 24;
const data = normals(3 * T * 20, 4);
const rounded = ['bf16', 'q8_0'] as const;
type Kept = 'f32' | (typeof rounded)[number];
type Form = 'expanded' | 'absorbed';

/** Outputs of a sequence's tokens, in pieces; from packed weights where they are given. */
function inPieces(
  mla: MultiHeadLatentAttention,
  cache: LatentCache,
  pieces: readonly number[],
  form?: Form,
  packed?: PackedWeights,
) {
  const { arena: weights } = mla.parameters().get('o_proj.weight')!;
  const outputs: number[] = [];
  for (const count of pieces) {
    using arena = new Arena(weights.backend, packed && { packed });
    const start = cache.length(0);
    const batch = cache.append(arena, [{ sequence: 0, count, role: 'prompt' }]);
    const x = arena.tensor(data.slice(start * 20, (start + count) * 20), [count, 20]);
    outputs.push(...mla.forward(x, { batch, cache, ...(form && { form }) }).readSync());
  }
  return outputs;
}

const newCache = (mla: MultiHeadLatentAttention, cacheType: Kept, sequences = 1) =>
  mla.createCache({ maxTokens: T, sequences, cacheType }) as LatentCache;

describe.each(backends)('on %s', (_, backend) => {
  const mla = layer(backend);

  it.each(rounded)('%s: outputs are near the exact ones, and those of the reference', (cacheType) => {
    for (const form of ['expanded', 'absorbed'] as const) {
      const run = (of: MultiHeadLatentAttention, kept: Kept) => {
        using cache = newCache(of, kept);
        return inPieces(of, cache, [T], form);
      };
      const exact = run(mla, 'f32');
      const got = run(mla, cacheType);
      expect(distance(got, exact)).toBeGreaterThan(1e-5);
      const largest = Math.max(...exact.map(Math.abs));
      expect(distance(got, exact)).toBeLessThan(0.02 * largest);
      expect(distance(got, run(layer(reference), cacheType))).toBeLessThan(1e-4);
    }
  });

  it.each(rounded)('%s: tokens that come in pieces give the same as at once, bit for bit', (cacheType) => {
    for (const form of ['expanded', 'absorbed'] as const) {
      const run = (pieces: readonly number[]) => {
        using cache = newCache(mla, cacheType);
        return inPieces(mla, cache, pieces, form);
      };
      const whole = run([T]);
      for (const pieces of [new Array<number>(T).fill(1), [5, 1, 11, 7]]) expect(run(pieces)).toEqual(whole);
    }
  });

  it.each(rounded)('%s: prompts side by side give what each gives alone, bit for bit', (cacheType) => {
    const run = (lengths: readonly number[]) => {
      using cache = newCache(mla, cacheType, 3);
      using arena = new Arena(backend);
      const requests = lengths.flatMap((count, sequence) =>
        count === 0 ? [] : [{ sequence, count, role: 'prompt' as const }],
      );
      const rows = requests.flatMap(({ sequence, count }) =>
        data.slice(sequence * T * 20, (sequence * T + count) * 20),
      );
      const batch = cache.append(arena, requests);
      return [...mla.forward(arena.tensor(rows, [rows.length / 20, 20]), { batch, cache }).readSync()];
    };
    expect(run([9, 4, 17])).toEqual([...run([9, 0, 0]), ...run([0, 4, 0]), ...run([0, 0, 17])]);
  });

  it.each(rounded)(
    '%s: beside weights in blocks products are of bf16 numbers, in pieces, too',
    (cacheType) => {
      const own = layer(backend);
      const up = own.parameters().get('kv_b_proj.weight')!;
      // Multiples of 2^-8 whose largest one of each block is 127: blocks hold them exactly.
      const random = new Random(6);
      const integers = Float32Array.from({ length: up.size }, (_, i) =>
        i % 32 === 0 ? 127 : Math.floor(random.uniform() * 255) - 127,
      );
      up.write(integers.map((x) => x / 256));
      using packed = new PackedWeights(backend, [], { rows: [up] });
      for (const form of ['expanded', 'absorbed'] as const) {
        const run = (kept: Kept, pieces: readonly number[], inBlocks: boolean) => {
          using cache = newCache(own, kept);
          return inPieces(own, cache, pieces, form, inBlocks ? packed : undefined);
        };
        const [exact, got] = [run(cacheType, [T], false), run(cacheType, [T], true)];
        expect(distance(got, exact)).toBeGreaterThan(1e-4);
        expect(distance(got, exact)).toBeLessThan(0.02 * Math.max(...exact.map(Math.abs)));
        expect(distance(run('f32', [T], true), run('f32', [T], false))).toBeLessThan(1e-5);
        for (const pieces of [new Array<number>(T).fill(1), [5, 1, 11, 7]])
          expect(run(cacheType, pieces, true)).toEqual(got);
      }
    },
  );

  it.each(rounded)(
    '%s: tokens that were taken back leave nothing behind, and copies hold the same',
    (cacheType) => {
      using cache = newCache(mla, cacheType, 2);
      const first = inPieces(mla, cache, [10, 14], 'absorbed');
      cache.truncate(0, 10);
      expect(inPieces(mla, cache, [14], 'absorbed')).toEqual(first.slice(10 * 20));
      using arena = new Arena(backend);
      cache.copySequence(arena, 0, 1, T);
      arena.submit();
      const rows = [...cache.latents(0).readSync()];
      expect(rows.slice(rows.length / 2)).toEqual(rows.slice(0, rows.length / 2));
      expect(rows.some((byte) => byte !== 0)).toBe(true);
    },
  );
});

/** Layers that keep keys and values: of heads that are whole blocks of 8 bits, and of heads that are not. */
const grouped = { hiddenSize: 20, numHeads: 6, numKeyValueHeads: 2, headDim: 32 };
const kinds = {
  'grouped queries': (backend: Backend) =>
    GroupedQueryAttention.init(grouped, { backend, seed: 2, std: 0.3 }),
  'grouped queries of narrow heads': (backend: Backend) =>
    GroupedQueryAttention.init({ ...grouped, headDim: 10 }, { backend, seed: 2, std: 0.3 }),
  'the expanded form': layer,
};
describe.each(Object.entries(kinds))('keys and values of %s', (_, make) => {
  const run = (backend: Backend, cacheType: Kept, pieces: readonly number[]): number[] => {
    const made = make(backend);
    const own = { maxTokens: T, sequences: 2, cacheType };
    using cache: AttentionCache =
      made instanceof GroupedQueryAttention
        ? made.createCache(own)
        : made.createCache({ ...own, form: 'expanded' });
    const outputs: number[] = [];
    for (const count of pieces) {
      using arena = new Arena(backend);
      const start = cache.length(1);
      const batch = cache.append(arena, [{ sequence: 1, count, role: count === 1 ? 'generated' : 'prompt' }]);
      const x = arena.tensor(data.slice(start * 20, (start + count) * 20), [count, 20]);
      outputs.push(...made.forward(x, { batch, cache }).readSync());
    }
    return outputs;
  };

  it.each(backends)('on %s are near the exact ones, in pieces as at once', (_, backend) => {
    const exact = run(backend, 'f32', [T]);
    const largest = Math.max(...exact.map(Math.abs));
    for (const cacheType of rounded) {
      const whole = run(backend, cacheType, [T]);
      expect(distance(whole, exact)).toBeGreaterThan(1e-5);
      expect(distance(whole, exact)).toBeLessThan(0.02 * largest);
      expect(distance(whole, run(reference, cacheType, [T]))).toBeLessThan(1e-4);
      for (const pieces of [new Array<number>(T).fill(1), [5, 1, 11, 7]])
        expect(run(backend, cacheType, pieces)).toEqual(whole);
    }
  });
});

describe('a rounded cache', () => {
  it('takes the bytes of its type', () => {
    for (const [cacheType, width, row] of [
      ['f32', 64, 256],
      ['bf16', 64, 128],
      ['q8_0', 64, 68],
      ['bf16', 80, 160],
      ['q8_0', 80, 102],
    ] as const) {
      const own = createReference();
      const size = { layers: 3, sequences: 2, maxTokens: 70, width, cacheType };
      const cache = new LatentCache(own, size);
      expect(cachedRowBytes(cacheType, width)).toBe(row);
      expect(cache.bytes).toBe(3 * 2 * 70 * row);
      expect(own.memoryUse().bytes).toBe(cache.bytes);
      cache.dispose();
      expect(own.memoryUse().bytes).toBe(0);
    }
  });

  it('of keys and values takes the bytes of both, and copies its sequences instead of sharing them', () => {
    const widths = { heads: 3, keyWidth: 24, valueWidth: 16 };
    for (const [cacheType, row] of [
      ['f32', 4 * 120],
      ['bf16', 2 * 120],
      ['q8_0', 34 * (3 + 2)],
    ] as const) {
      using cache = new ExpandedCache(reference, {
        layers: 2,
        sequences: 3,
        maxTokens: 7,
        ...widths,
        cacheType,
      });
      expect(cache.bytes).toBe(2 * 3 * 7 * row);
      expect(cache.sharesPrefixes).toBe(cacheType === 'f32');
    }
  });

  it('holds each number to the step of its type', () => {
    using arena = new Arena(reference);
    const random = new Random(3);
    const numbers = Array.from({ length: 5 * 64 }, () => random.normal() * 10 ** random.integer(-2, 3));
    for (const cacheType of rounded) {
      using cache = new LatentCache(reference, { maxTokens: 8, width: 64, cacheType });
      const rows = arena.tensor([0, 1, 4, 7, 5], [5], 'i32');
      const stored = cache.write(0, arena.tensor(numbers, [5, 64]), rows).readSync() as Uint8Array;
      const bytes = byteLength(cacheType, 64);
      const table = cache.latents(0).readSync() as Uint8Array;
      [0, 1, 4, 7, 5].forEach((row, n) => {
        expect(table.slice(row * bytes, (row + 1) * bytes)).toEqual(stored.slice(n * bytes, (n + 1) * bytes));
      });
      expect(table.slice(2 * bytes, 4 * bytes).every((byte) => byte === 0)).toBe(true);
    }
  });

  it('says where it cannot be', () => {
    const mla = layer(reference);
    const size = { maxTokens: 8, cacheType: 'q8_0' } as const;
    expect(() => mla.createCache({ ...size, keyBias: true })).toThrow(/f32 where keys have a bias, got q8_0/);
    expect(() => mla.createCache({ maxTokens: 8, cacheType: 'f16' as 'bf16' })).toThrow(
      /cacheType of f32, bf16, q8_0, got f16/,
    );
    const refused = (backend: Backend, cacheType: 'bf16' | 'q8_0') => {
      const before = backend.memoryUse().bytes;
      expect(() => new LatentCache(backend, { maxTokens: 8, width: 64, cacheType })).toThrowError(
        expect.objectContaining({ code: 'unsupported', message: expect.stringMatching(/f32/) }),
      );
      expect(backend.memoryUse().bytes).toBe(before);
    };
    for (const cacheType of rounded) refused(withoutOps(createReference(), 'storeRounded'), cacheType);
    const others = withoutOps(createReference(), 'attentionRounded');
    const gqa = GroupedQueryAttention.init(grouped, { backend: others, seed: 1 });
    const before = others.memoryUse().bytes;
    expect(() => gqa.createCache(size)).toThrow(/attention to q8_0 caches, got reference; use f32/);
    expect(others.memoryUse().bytes).toBe(before);
  });
});
