import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { Arena, gradcheck, slice } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { type RopeConfig, RopeTable, ropeFrequencies } from './rope.ts';
import { distance, normals, randomTensor } from './testing/tensors.ts';

const layouts = ['interleaved', 'half'] as const;
const config = (layout: RopeConfig['layout']): RopeConfig => ({ width: 6, theta: 100, layout });

describe.each(layouts)('rotary embedding, %s layout', (layout) => {
  it('rotates each pair by position times frequency and copies the other columns', () => {
    const backend = createReference({ bits: 64 });
    const arena = new Arena(backend);
    const data = normals(2 * 2 * 9, 1);
    const positions = [3, 11];
    const rope = RopeTable.create(new Arena(backend, { persistent: true }), config(layout), 12);
    const y = rope.apply(arena.tensor(data, [2, 2, 9]), arena.tensor(positions, [2], 'i32'), 2).readSync();
    const expected = [...data];
    const frequencies = ropeFrequencies(config(layout));
    for (let n = 0; n < 2; n++) {
      for (let h = 0; h < 2; h++) {
        for (let i = 0; i < 3; i++) {
          const head = (n * 2 + h) * 9 + 2;
          const [a, b] = layout === 'half' ? [head + i, head + i + 3] : [head + 2 * i, head + 2 * i + 1];
          const angle = positions[n]! * frequencies[i]!;
          expected[a] = data[a]! * Math.cos(angle) - data[b]! * Math.sin(angle);
          expected[b] = data[a]! * Math.sin(angle) + data[b]! * Math.cos(angle);
        }
      }
    }
    expect(distance(y, expected)).toBeLessThan(1e-7); // tables are f32
  });

  it('gives dot products that depend on the distance of positions only', () => {
    const backend = createReference({ bits: 64 });
    const arena = new Arena(backend);
    const rope = RopeTable.create(new Arena(backend, { persistent: true }), config(layout), 64);
    const [q, k] = [randomTensor(arena, [1, 1, 6], 2), randomTensor(arena, [1, 1, 6], 3)];
    const at = (x: typeof q, position: number) =>
      rope.apply(x, arena.tensor([position], [1], 'i32')).readSync();
    const dot = (i: number, j: number) => {
      const [a, b] = [Array.from(at(q, i)), at(k, j)];
      return a.reduce((sum, value, n) => sum + value * b[n]!, 0);
    };
    expect(dot(40, 33)).toBeCloseTo(dot(7, 0), 6);
    expect(Math.abs(dot(40, 33) - dot(40, 34))).toBeGreaterThan(1e-3);
  });

  it('has the gradient that finite differences give, fused and composed', async () => {
    for (const backend of [
      createReference({ bits: 64 }),
      withoutOps(createReference({ bits: 64 }), 'rope'),
    ]) {
      const rope = RopeTable.create(new Arena(backend, { persistent: true }), config(layout), 16);
      const report = await gradcheck(
        (x) => rope.apply(x, x.arena.tensor([0, 5, 15], [3], 'i32'), 1),
        [{ shape: [3, 2, 8] }],
        { backend },
      );
      expect(report.worst).toBeLessThan(1e-6);
    }
  });

  it('computes the same composed as fused', () => {
    const results = [createReference(), withoutOps(createReference(), 'rope')].map((backend) => {
      const arena = new Arena(backend);
      const rope = RopeTable.create(new Arena(backend, { persistent: true }), config(layout), 16);
      const x = randomTensor(arena, [3, 2, 10], 4);
      return rope.apply(x, arena.tensor([2, 0, 9], [3], 'i32'), 4).readSync();
    });
    expect(distance(results[0]!, results[1]!)).toBeLessThan(1e-6);
  });
});

it('gives the same scores in both layouts once the channels are regrouped', () => {
  const backend = createReference({ bits: 64 });
  const arena = new Arena(backend);
  const weights = new Arena(backend, { persistent: true });
  const data = normals(12, 5);
  const regroup = (x: number[]) => [0, 2, 4, 1, 3, 5].map((i) => x[i]!);
  const positions = arena.tensor([9, 4], [2], 'i32');
  const score = (layout: RopeConfig['layout'], q: number[], k: number[]) => {
    const rope = RopeTable.create(weights, config(layout), 16);
    const rotated = rope.apply(arena.tensor([...q, ...k], [2, 1, 6]), positions).readSync();
    return Array.from(rotated.slice(0, 6)).reduce((sum, value, i) => sum + value * rotated[6 + i]!, 0);
  };
  const [q, k] = [data.slice(0, 6), data.slice(6)];
  expect(score('half', regroup(q), regroup(k))).toBeCloseTo(score('interleaved', q, k), 6);
  expect(Math.abs(score('half', q, k) - score('interleaved', q, k))).toBeGreaterThan(1e-2);
});

it('refuses an odd width', () => {
  expect(() => ropeFrequencies({ width: 7, theta: 1e4, layout: 'half' })).toThrow(/even width, got 7/);
});

it('slices of a rotated head are what rotating the slice gives', () => {
  const arena = new Arena(createReference());
  const rope = RopeTable.create(new Arena(arena.backend, { persistent: true }), config('interleaved'), 8);
  const positions = arena.tensor([1, 7], [2], 'i32');
  const x = randomTensor(arena, [2, 3, 11], 6);
  const whole = slice(rope.apply(x, positions, 5), 2, 5, 6).readSync();
  expect(distance(whole, rope.apply(slice(x, 2, 5, 6), positions).readSync())).toBe(0);
});
