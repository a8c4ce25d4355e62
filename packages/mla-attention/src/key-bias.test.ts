// A bias of scores by key: against a loop, duplicates merged, gradients, and bits that it must leave.

import type { Backend } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { availableBackends } from '@minke/gpu-backends/testing';
import { Arena, gradcheck, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { attention } from './attention.ts';
import { packSequences } from './batch.ts';
import { withKeyBias } from './key-bias.ts';
import { MultiHeadLatentAttention } from './mla.ts';
import { type MlaConfig, mlaParameterShapes, mlaRope } from './mla-config.ts';
import { distance, normals, randomTensor } from './testing/tensors.ts';

const [D, H, T] = [20, 3, 12];
const config: MlaConfig = {
  hiddenSize: D,
  numHeads: H,
  qLoraRank: 10,
  kvLoraRank: 16,
  qkNopeHeadDim: 8,
  qkRopeHeadDim: 4,
  vHeadDim: 6,
  maxPositions: 64,
};
const data = normals(T * D, 4);
const sizes = Array.from({ length: T }, (_, n) => 1 + (n % 4));
const weights = [0.7, -1.3, 2];
const forms = ['expanded', 'absorbed'] as const;
const exact = createReference({ bits: 64 });
const layer = (backend: Backend) => MultiHeadLatentAttention.init(config, { backend, seed: 1, std: 0.3 });

/** A bias by the logs of sizes. */
function biasOf(arena: Arena, sizes: readonly number[], heads: readonly number[] = weights) {
  return { of: arena.tensor(sizes.map(Math.log), [sizes.length]), weights: arena.tensor(heads, [H]) };
}

describe('a bias of scores by key', () => {
  it('is added to every score of its key, as in a plain loop', () => {
    using arena = new Arena(exact);
    const [N, M, C, W, scale] = [5, 7, 4, 3, 0.4];
    const [q, k, v] = [
      randomTensor(arena, [N, H, C], 1),
      randomTensor(arena, [M, C], 2),
      randomTensor(arena, [M, 1, W], 3),
    ];
    const own = biasOf(arena, sizes.slice(0, M));
    const wider = withKeyBias(arena.zeros([M, H, C]), k, own, scale).shared;
    const queries = withKeyBias(q, arena.zeros([N, C]), { ...own, of: arena.zeros([N]) }, scale).q;
    const ranges = arena.tensor([0, 1, 0, 7, 3, 3, 2, 5, 6, 7], [N, 2], 'i32');
    const got = attention(queries, wider.reshape([M, 1, C + 1]), v, ranges, { scale }).readSync();
    const [Q, K, V, R] = [q.readSync(), k.readSync(), v.readSync(), ranges.readSync()];
    const expected: number[] = [];
    for (let n = 0; n < N; n++)
      for (let h = 0; h < H; h++) {
        const out = new Array<number>(W).fill(0);
        let total = 0;
        for (let m = R[2 * n]!; m < R[2 * n + 1]!; m++) {
          let score = 0;
          for (let c = 0; c < C; c++) score += Q[(n * H + h) * C + c]! * K[m * C + c]!;
          const p = Math.exp(scale * score + weights[h]! * Math.log(sizes[m]!));
          total += p;
          for (let c = 0; c < W; c++) out[c]! += p * V[m * W + c]!;
        }
        expected.push(...out.map((x) => (total === 0 ? 0 : x / total)));
      }
    expect(distance(got, expected)).toBeLessThan(1e-12);
  });

  it.each(forms)('has the gradients that finite differences give, %s', async (form) => {
    const small = { ...config, hiddenSize: 5, numHeads: 2, qLoraRank: 4, kvLoraRank: 3, qkNopeHeadDim: 3 };
    const shapes = mlaParameterShapes(small);
    const rope = mlaRope(small, new Arena(exact, { persistent: true }));
    const report = await gradcheck(
      (x, heads, ...rest) => {
        const { arena } = x as Tensor;
        const parameters = new Map([...shapes.keys()].map((name, i) => [name, rest[i] as Tensor]));
        const mla = new MultiHeadLatentAttention(small, parameters, rope);
        const of = biasOf(arena, sizes.slice(0, 5)).of;
        const batch = packSequences(arena, [3, 2]);
        return mla.forward(x as Tensor, { batch, form, keyBias: { of, weights: heads as Tensor } });
      },
      [[5, 5], [2], ...shapes.values()].map((shape) => ({ shape })),
      { backend: exact, tolerance: 1e-5 },
    );
    expect(report.worst).toBeLessThan(1e-5);
  });

  it('says what does not fit', () => {
    const mla = layer(exact);
    using arena = new Arena(exact);
    using plain = mla.createCache({ maxTokens: 8 });
    using keys = mla.createCache({ maxTokens: 8, form: 'expanded', keyBias: true });
    const x = arena.zeros([4, D]);
    const keyBias = biasOf(arena, [1, 2, 3, 4]);
    expect(() => mla.forward(x, { keyBias: { ...keyBias, of: arena.zeros([3]) } })).toThrow(
      /key bias of \[4\] with weights \[3\], got \[3\] with \[3\]/,
    );
    expect(() => mla.forward(x, { cache: plain, keyBias })).toThrow(
      /rows of 21, made with keyBias, got one of 20/,
    );
    expect(() => mla.forward(x, { cache: keys })).toThrow(/rows of 12, got one of 13/);
  });
});

describe.each(await availableBackends())('a bias of scores by key, on %s', (_, backend) => {
  const mla = layer(backend);
  const input = (arena: Arena, start = 0, end = T) =>
    arena.tensor(data.slice(start * D, end * D), [end - start, D]);

  it.each(forms)('weighs a key as so many equal ones, %s', async (form) => {
    using arena = new Arena(backend);
    // Three equal tokens at one position, or one that counts as three.
    const rows = [0, 1, 1, 1, 2];
    const repeated = rows.flatMap((row) => data.slice(row * D, (row + 1) * D));
    const places = { positions: arena.tensor(rows, [5], 'i32') };
    const many = await mla
      .forward(arena.tensor(repeated, [5, D]), { batch: { ...packSequences(arena, [5]), ...places }, form })
      .read();
    const keyBias = biasOf(arena, [1, 3, 1], [1, 1, 1]);
    const one = await mla.forward(input(arena, 0, 3), { form, keyBias }).read();
    expect(distance(one.slice(2 * D, 3 * D), many.slice(4 * D, 5 * D))).toBeLessThan(2e-5);
    const plain = await mla.forward(input(arena, 0, 3), { form }).read();
    expect(distance(plain.slice(2 * D, 3 * D), many.slice(4 * D, 5 * D))).toBeGreaterThan(1e-3);
  });

  it.each(forms)('leaves every bit where keys stand for one token each, %s', async (form) => {
    using arena = new Arena(backend);
    const keyBias = biasOf(arena, new Array<number>(T).fill(1));
    const [own, plain] = [{ keyBias }, {}].map((options) => mla.forward(input(arena), { form, ...options }));
    expect(distance(await own!.read(), await plain!.read())).toBe(0);
  });

  it.each([
    ['expanded', 'expanded', 'expanded'],
    ['latent, expanded', 'absorbed', 'expanded'],
    ['latent, absorbed', 'absorbed', 'absorbed'],
  ] as const)('is the same in pieces through a cache, %s', async (_, kept, form) => {
    const through = async (chunks: readonly number[], biased = true) => {
      using cache = mla.createCache({ maxTokens: T, form: kept, keyBias: biased });
      const got: number[] = [];
      let start = 0;
      for (const count of chunks) {
        using arena = new Arena(backend);
        const batch = cache.append(arena, [{ sequence: 0, count, role: 'prompt' }]);
        const keyBias = biasOf(arena, sizes.slice(start, start + count));
        const options = { batch, cache, form, ...(biased && { keyBias }) };
        got.push(...Array.from(await mla.forward(input(arena, start, start + count), options).read()));
        start += count;
      }
      return got;
    };
    using arena = new Arena(backend);
    const whole = await mla.forward(input(arena), { form, keyBias: biasOf(arena, sizes) }).read();
    const pieces = await through([5, 1, 1, 4, 1]);
    expect(distance(pieces, await through([T]))).toBe(0);
    expect(distance(pieces, whole)).toBeLessThanOrEqual(kept === form ? 0 : 1e-5);
    expect(distance(pieces, await through([T], false))).toBeGreaterThan(1e-3);
  });
});
