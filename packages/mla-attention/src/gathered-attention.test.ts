// Attention to named rows: from general ops and in one.

import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { Arena } from '@minke/tensor';
import { expect, it } from 'vitest';
import { gatheredAttention } from './gathered-attention.ts';
import { distance, normals } from './testing/tensors.ts';

it('gives the same from general ops as fused, with a sink and without', () => {
  const fused = createReference({ bits: 64 });
  const outputs = [fused, withoutOps(createReference({ bits: 64 }), 'gatheredAttention')].flatMap((own) =>
    [true, false].map((sunk) => {
      using arena = new Arena(own);
      const q = arena.tensor(normals(3 * 2 * 6, 1), [3, 2, 6]);
      const cache = arena.tensor(normals(9 * 6, 2), [9, 6]);
      const rows = arena.tensor([0, 4, -1, 8, 9, 2, 3, 3, -1, -1, 7, 1], [3, 4], 'i32');
      const sink = sunk ? { sink: arena.tensor([0.5, -1], [2]) } : {};
      return gatheredAttention(q, cache, rows, { scale: 0.4, valueWidth: 5, ...sink }).readSync();
    }),
  );
  expect(distance(outputs[0]!, outputs[2]!)).toBeLessThan(1e-12);
  expect(distance(outputs[1]!, outputs[3]!)).toBeLessThan(1e-12);
  expect(distance(outputs[0]!, outputs[1]!)).toBeGreaterThan(1e-3);
});
