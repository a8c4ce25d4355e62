import { createReference } from '@minke/gpu-backends/reference';
import { Arena, gradcheck, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { type GqaConfig, GroupedQueryAttention, gqaParameterShapes, gqaRope } from './gqa.ts';
import { distance, normals, randomTensor } from './testing/tensors.ts';

const config: GqaConfig = {
  hiddenSize: 12,
  numHeads: 4,
  numKeyValueHeads: 2,
  headDim: 6,
  qkvBias: true,
  maxPositions: 32,
};
const backend = createReference({ bits: 64 });

describe('grouped-query attention', () => {
  it('computes the same with a cache as without one', () => {
    const gqa = GroupedQueryAttention.init(config, { backend, seed: 1, std: 0.4 });
    using arena = new Arena(backend);
    const data = normals(9 * 12, 2);
    const full = gqa.forward(arena.tensor(data, [9, 12])).readSync();
    using cache = gqa.createCache({ maxTokens: 9 });
    const parts = [5, 1, 3].flatMap((count) => {
      const start = cache.length(0);
      const x = arena.tensor(data.slice(start * 12, (start + count) * 12), [1, count, 12]);
      return Array.from(gqa.forward(x, { cache }).readSync());
    });
    expect(distance(parts, full)).toBeLessThan(1e-12);
  });

  it('equals plain multi-head attention whose key and value heads are repeated', () => {
    const grouped = GroupedQueryAttention.init(config, { backend, seed: 3, std: 0.4 });
    const arena = new Arena(backend, { persistent: true });
    const parameters = new Map<string, Tensor>();
    for (const [name, tensor] of grouped.parameters()) {
      let values = Array.from(tensor.readSync());
      const shape = [...tensor.shape];
      if (/^[kv]_proj/.test(name)) {
        const head = values.length / 2;
        values = [0, 0, 1, 1].flatMap((h) => values.slice(h * head, (h + 1) * head));
        shape[0] = 24;
      }
      parameters.set(name, arena.tensor(values, shape));
    }
    const plain = new GroupedQueryAttention(
      { ...config, numKeyValueHeads: 4 },
      parameters,
      gqaRope(config, arena),
    );
    using step = new Arena(backend);
    const x = randomTensor(step, [2, 5, 12], 4);
    expect(distance(grouped.forward(x).readSync(), plain.forward(x).readSync())).toBeLessThan(1e-12);
  });

  it('has the gradients that finite differences give', async () => {
    const shapes = gqaParameterShapes(config);
    const rope = gqaRope(config, new Arena(backend, { persistent: true }));
    const report = await gradcheck(
      (x, ...weights) => {
        const parameters = new Map([...shapes.keys()].map((name, i) => [name, weights[i] as Tensor]));
        return new GroupedQueryAttention(config, parameters, rope).forward(x as Tensor);
      },
      [[2, 3, 12], ...shapes.values()].map((shape) => ({
        shape,
        data: normals(
          shape.reduce((a, b) => a * b),
          5,
        ).map((v) => v / 2),
      })),
      { backend, tolerance: 1e-5, maxElements: 24 },
    );
    expect(report.worst).toBeLessThan(1e-5);
  });

  it('refuses head counts that do not divide and latent caches', () => {
    expect(() =>
      GroupedQueryAttention.init({ ...config, numKeyValueHeads: 3, headDim: 5 }, { backend }),
    ).toThrow(/headDim even, got 5; numKeyValueHeads dividing 4, got 3/);
  });
});
