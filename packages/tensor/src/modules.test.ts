import { Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { expect, test } from 'vitest';
import {
  Arena,
  addParameters,
  Embedding,
  Linear,
  loadParameters,
  normalInit,
  RmsNorm,
  type Tensor,
} from './index.ts';

const backend = createReference();
const owner = new Arena(backend, { persistent: true });

function model() {
  const random = new Random(1);
  const embedding = Embedding.init(owner, random, 5, 4);
  const norm = RmsNorm.init(owner, 4);
  const head = Linear.init(owner, random, 4, 3, { bias: true });
  return {
    embedding,
    norm,
    head,
    parameters: () => {
      const all = new Map<string, Tensor>();
      addParameters(all, 'embed_tokens', embedding);
      addParameters(all, 'norm', norm);
      return addParameters(all, 'lm_head', head);
    },
  };
}

test('parameters have checkpoint names and one seed gives one model', () => {
  const [a, b] = [model(), model()];
  expect([...a.parameters().keys()]).toEqual([
    'embed_tokens.weight',
    'norm.weight',
    'lm_head.weight',
    'lm_head.bias',
  ]);
  for (const [name, t] of a.parameters()) expect(t.readSync()).toEqual(b.parameters().get(name)!.readSync());
});

test('normalInit has the spread it is asked for', () => {
  const data = Array.from(normalInit(owner, new Random(3), [100, 100], 0.5).readSync());
  const mean = data.reduce((a, x) => a + x, 0) / data.length;
  const variance = data.reduce((a, x) => a + (x - mean) ** 2, 0) / data.length;
  expect(Math.abs(mean)).toBeLessThan(0.02);
  expect(Math.sqrt(variance)).toBeCloseTo(0.5, 1);
});

test('modules compute what their names say', () => {
  const arena = new Arena(backend);
  const table = new Embedding(owner.parameter([1, 2, 3, 4], [2, 2]));
  const x = table.forward(arena.tensor([1, 0], [2], 'i32'));
  expect(Array.from(x.readSync())).toEqual([3, 4, 1, 2]);
  const linear = new Linear(owner.parameter([1, 1], [1, 2]), owner.parameter([10], [1]));
  expect(Array.from(linear.forward(x).readSync())).toEqual([17, 13]);
  const norm = new RmsNorm(owner.parameter([1, 2], [2]), 0);
  const y = norm.forward(arena.tensor([3, 4], [1, 2])).readSync();
  expect(y[0]).toBeCloseTo(3 / Math.sqrt(12.5), 6);
  expect(y[1]).toBeCloseTo(8 / Math.sqrt(12.5), 6);
});

test('loadParameters writes all values, or none and names every problem', () => {
  const m = model();
  const values = new Map(
    [...m.parameters()].map(([name, { shape, size }]) => [
      name,
      { shape, data: new Float32Array(size).fill(2) },
    ]),
  );
  loadParameters(m, values);
  for (const t of m.parameters().values()) expect(new Set(t.readSync())).toEqual(new Set([2]));
  values.delete('norm.weight');
  values.set('lm_head.weight', { shape: [4, 3], data: new Float32Array(12) });
  values.set('extra', { shape: [1], data: new Float32Array(1) });
  values.get('lm_head.bias')!.data.fill(7);
  expect(() => loadParameters(m, values)).toThrow(
    'norm.weight is missing; lm_head.weight is [4, 3] with 12 numbers instead of [3, 4]; extra is unknown',
  );
  expect(m.head.bias!.readSync()[0]).toBe(2);
});
