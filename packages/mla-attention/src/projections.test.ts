import { createNative, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { Arena, concat, gradcheck, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { absorbOutput, absorbQuery, expandKeys } from './projections.ts';
import { distance, randomTensor } from './testing/tensors.ts';

const ops = ['expandKeys', 'expandKeysGrad', 'absorbQuery', 'absorbOutput'] as const;
const fused = () => createReference({ bits: 64 });
const [N, H, nope, P, dv, R] = [3, 2, 4, 2, 3, 5];

const cases: Record<string, { run: (a: Tensor, b: Tensor) => Tensor; shapes: number[][] }> = {
  expandKeys: {
    run: (up, shared) => {
      const { k, v } = expandKeys(up, shared, nope);
      return concat([k, v], 2);
    },
    shapes: [
      [N, H, nope + dv],
      [N, P],
    ],
  },
  absorbQuery: {
    run: (q, w) => absorbQuery(q, w, nope),
    shapes: [
      [N, H, nope + P],
      [H, nope + dv, R],
    ],
  },
  absorbOutput: {
    run: (z, w) => absorbOutput(z, w, nope),
    shapes: [
      [N, H, R],
      [H, nope + dv, R],
    ],
  },
};

describe.each(Object.entries(cases))('%s', (_, { run, shapes }) => {
  it.each([
    ['fused', fused],
    ['composed', () => withoutOps(fused(), ...ops)],
  ])('has the gradients that finite differences give, %s', async (_, create) => {
    const inputs = shapes.map((shape) => ({ shape }));
    const report = await gradcheck((a, b) => run(a as Tensor, b as Tensor), inputs, { backend: create() });
    expect(report.worst).toBeLessThan(1e-6);
  });

  it('is bit for bit the same from general ops', async () => {
    const backend = nativeAvailable().available ? await createNative({ threads: 2 }) : createReference();
    const results = [backend, withoutOps(backend, ...ops)].map((own) => {
      using arena = new Arena(own);
      const [a, b] = shapes.map((shape, i) => randomTensor(arena, shape, i));
      return Array.from(run(a!, b!).readSync());
    });
    expect(distance(results[0]!, results[1]!)).toBe(0);
  });
});

it('keys whose values are not used have a gradient', () => {
  using arena = new Arena(fused(), { grad: true });
  const weights = new Arena(arena.backend, { persistent: true });
  const up = weights.parameter(new Float32Array(N * H * (nope + dv)).fill(1), [N, H, nope + dv]);
  const { k } = expandKeys(arena.adopt(up), randomTensor(arena, [N, P], 1), nope);
  k.reshape([-1]).rows(0, 1).backward();
  expect(Array.from(up.grad!.readSync()).filter((x) => x !== 0)).toEqual([1]);
});
