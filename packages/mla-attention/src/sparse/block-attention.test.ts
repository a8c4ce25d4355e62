// Mixture of block attention: dense where every block is chosen, and as its formulas say (tools/parity).

import { readFileSync } from 'node:fs';
import { createReference } from '@minke/gpu-backends/reference';
import { availableBackends } from '@minke/gpu-backends/testing';
import { Arena, gradcheck, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { attention } from '../attention.ts';
import { packSequences } from '../batch.ts';
import { distance, normals } from '../testing/tensors.ts';
import { blockAttention } from './index.ts';

interface Numbers {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
const url = new URL('../../fixtures/sparse-attention.json', import.meta.url);
const { moba } = JSON.parse(readFileSync(url, 'utf8')) as {
  moba: Readonly<Record<'q' | 'k' | 'v' | 'o', Numbers>> &
    Readonly<Record<'scale' | 'blockSize' | 'topK', number>>;
};

describe.each(await availableBackends())('block attention on %s', (_, backend) => {
  const upload = (arena: Arena, { data, shape }: Numbers) => arena.tensor(data, shape);
  const random = (arena: Arena, seed: number, heads: number) =>
    arena.tensor(normals(24 * heads * 5, seed), [24, heads, 5]);

  it('is that of its formulas', async () => {
    using arena = new Arena(backend);
    const [q, k, v] = (['q', 'k', 'v'] as const).map((name) => upload(arena, moba[name])) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const o = blockAttention(q, k, v, packSequences(arena, [moba.q.shape[0] as number]), moba);
    expect(distance(await o.read(), moba.o.data)).toBeLessThan(1e-5);
  });

  it('is dense attention where every block is chosen, and not else', async () => {
    using arena = new Arena(backend);
    const [q, k, v] = [random(arena, 1, 4), random(arena, 2, 2), random(arena, 3, 2)];
    const batch = packSequences(arena, [17, 7]);
    const dense = await attention(q, k, v, batch.ranges, { scale: 0.4 }).read();
    const of = (topK: number) => blockAttention(q, k, v, batch, { scale: 0.4, blockSize: 4, topK }).read();
    expect(distance(await of(5), dense)).toBeLessThan(1e-5);
    expect(distance(await of(2), dense)).toBeGreaterThan(1e-2);
  });

  it('does not look ahead', async () => {
    using arena = new Arena(backend);
    const [q, k] = [random(arena, 1, 2), random(arena, 2, 2)];
    const numbers = normals(24 * 2 * 5, 3);
    const changed = numbers.map((x, i) => (i < 13 * 10 ? x : x + 1));
    const of = (v: readonly number[]) =>
      blockAttention(q, k, arena.tensor(v, [24, 2, 5]), packSequences(arena, [24]), {
        ...{ scale: 0.4, blockSize: 4, topK: 3 },
      }).read();
    const [before, after] = [await of(numbers), await of(changed)];
    expect(distance(before.slice(0, 130), after.slice(0, 130))).toBe(0);
    expect(distance(before, after)).toBeGreaterThan(1e-2);
  });
});

describe('block attention', () => {
  const backend = createReference({ bits: 64 });

  it('has the gradients that finite differences give', async () => {
    const report = await gradcheck(
      (q, k, v) => {
        const batch = packSequences((q as Tensor).arena, [7]);
        return blockAttention(q as Tensor, k as Tensor, v as Tensor, batch, {
          scale: 0.4,
          blockSize: 2,
          topK: 2,
        });
      },
      [{ shape: [7, 2, 3] }, { shape: [7, 1, 3] }, { shape: [7, 1, 2] }],
      { backend, tolerance: 1e-5 },
    );
    expect(report.worst).toBeLessThan(1e-5);
  });

  it('says what is wrong with its options', () => {
    using arena = new Arena(backend);
    const x = arena.zeros([3, 1, 2]);
    const call = (blockSize: number, topK: number) =>
      blockAttention(x, x, x, packSequences(arena, [3]), { scale: 1, blockSize, topK });
    expect(() => call(0, 1)).toThrow(/blockSize a positive integer, got 0/);
    expect(() => call(2, 0.5)).toThrow(/topK a positive integer, got 0.5/);
  });
});
