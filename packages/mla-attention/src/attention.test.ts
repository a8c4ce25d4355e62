import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { Arena, gradcheck, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { attention, latentAttention } from './attention.ts';
import { distance, randomTensor } from './testing/tensors.ts';

const shapes = { q: [5, 4, 6], k: [7, 2, 6], v: [7, 2, 3] } as const;
const rangeRows = [0, 1, 0, 7, 3, 3, 2, 5, 6, 7]; // one of them empty
const ranges = (arena: Arena) => arena.tensor(rangeRows, [5, 2], 'i32');

/** Attention as it is written down. */
function plain(q: ArrayLike<number>, k: ArrayLike<number>, v: ArrayLike<number>, scale: number): number[] {
  const out: number[] = [];
  for (let n = 0; n < 5; n++) {
    for (let h = 0; h < 4; h++) {
      const keyHead = h >> 1;
      const scores: number[] = [];
      for (let m = rangeRows[2 * n]!; m < rangeRows[2 * n + 1]!; m++) {
        let dot = 0;
        for (let c = 0; c < 6; c++) dot += q[(n * 4 + h) * 6 + c]! * k[(m * 2 + keyHead) * 6 + c]!;
        scores.push(Math.exp(scale * dot));
      }
      const total = scores.reduce((a, b) => a + b, 0);
      for (let w = 0; w < 3; w++) {
        out.push(
          scores.reduce(
            (sum, e, i) => sum + (e / total) * v[((rangeRows[2 * n]! + i) * 2 + keyHead) * 3 + w]!,
            0,
          ),
        );
      }
    }
  }
  return out;
}

describe.each([
  ['fused', []],
  ['without its kernel', ['attention'] as const],
  ['without its gradient kernel', ['attentionGrad'] as const],
])('attention, %s', (_, lacking) => {
  const backend = withoutOps(createReference({ bits: 64 }), ...lacking);

  it('weights values by the softmax of scaled scores, with grouped heads and an empty range', () => {
    const arena = new Arena(backend);
    const [q, k, v] = Object.values(shapes).map((shape, i) => randomTensor(arena, shape, i)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const o = attention(q, k, v, ranges(arena), { scale: 0.4 }).readSync();
    expect(distance(o, plain(q.readSync(), k.readSync(), v.readSync(), 0.4))).toBeLessThan(1e-12);
  });

  it('has the gradients that finite differences give', async () => {
    const report = await gradcheck(
      (q, k, v) => attention(q!, k!, v!, ranges(q!.arena), { scale: 0.4 }),
      Object.values(shapes).map((shape) => ({ shape })),
      { backend },
    );
    expect(report.worst).toBeLessThan(1e-6);
  });
});

describe.each([
  ['fused', []],
  ['by shared-head attention', ['latentAttention'] as const],
  ['composed', ['latentAttention', 'attention'] as const],
])('latent attention, %s', (_, lacking) => {
  const backend = withoutOps(createReference({ bits: 64 }), ...lacking);
  const options = { scale: 0.3, valueWidth: 4 };

  it('is attention with one key head whose first entries are the values', () => {
    const arena = new Arena(backend);
    const q = randomTensor(arena, [5, 3, 6], 1);
    const keys = randomTensor(arena, [7, 6], 2);
    const o = latentAttention(q, keys, ranges(arena), options).readSync();
    const values = arena.tensor(
      Array.from(keys.readSync()).filter((_, i) => i % 6 < 4),
      [7, 1, 4],
    );
    const expected = attention(q, keys.reshape([7, 1, 6]), values, ranges(arena), options).readSync();
    expect(distance(o, expected)).toBeLessThan(1e-12);
  });

  it('has the gradients that finite differences give', async () => {
    const report = await gradcheck(
      (q, keys) => latentAttention(q!, keys!, ranges(q!.arena), options),
      [{ shape: [5, 3, 6] }, { shape: [7, 6] }],
      { backend },
    );
    expect(report.worst).toBeLessThan(1e-6);
  });
});
