// Gradients against finite differences, in f64. The straight-through confidence has none: PyTorch's fixture covers it.

import { type Backend, Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { AdamW, Arena, affine, gradcheck, mul, sum, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { distance, normals } from '../testing/numbers.ts';
import {
  CausalConvolution,
  DynamicTokenInflator,
  type InflatorConfig,
  type MergePlan,
  type MergerConfig,
  makePlan,
  ratioLoss,
  SoftTokenMerger,
} from './index.ts';
import { smooth } from './smoothing.ts';

const D = 3;
const backend = createReference({ bits: 64 });
const counts = [9, 1, 5];
const T = 15;
const boundaries = Uint8Array.from({ length: T }, (_, t) => Number([0, 2, 3, 7, 8, 12].includes(t)));

describe('gradients', () => {
  it.each(['mass', 'gated', 'select'] as const)('of entries, mix %s', async (mix) => {
    const config: MergerConfig = { hiddenSize: D, maxRun: 5, mix };
    const names = [...SoftTokenMerger.init(config, { backend }).parameters()];
    const report = await gradcheck(
      (h, ...parameters) => {
        const merger = new SoftTokenMerger(
          config,
          new Map(names.map(([name], i) => [name, parameters[i] as Tensor])),
        );
        return merger.forwardSync(h as Tensor, { counts, boundaries }).entries;
      },
      [{ shape: [T, D] }, ...names.map(([, { shape }]) => ({ shape }))],
      { backend },
    );
    expect(report).toMatchObject({ ok: true });
  });

  it('of a convolution', async () => {
    const config = { hiddenSize: D, kernel: 4 };
    const report = await gradcheck(
      (h, weight) =>
        new CausalConvolution(config, new Map([['weight', weight as Tensor]])).forward(h as Tensor, {
          counts,
        }),
      [{ shape: [T, D] }, { shape: [4, D] }],
      { backend },
    );
    expect(report).toMatchObject({ ok: true });
  });

  it('of the probabilities and the ratio loss', async () => {
    const config: MergerConfig = { hiddenSize: D, maxRun: 5, mix: 'select' };
    const run = (output: (plan: MergePlan) => Tensor, seed: number) =>
      gradcheck(
        (h, query, key) => {
          const arena = (h as Tensor).arena;
          const merger = new SoftTokenMerger(
            config,
            new Map([
              ['query.weight', query as Tensor],
              ['key.weight', key as Tensor],
              ['importance.weight', arena.zeros([1, D])],
              ['gate', arena.zeros([D])],
            ]),
          );
          return output(merger.forwardSync(h as Tensor, { counts }).plan);
        },
        [{ shape: [T, D] }, { shape: [D, D] }, { shape: [D, D] }],
        { backend, seed },
      );
    expect(await run((plan) => plan.probability as Tensor, 1)).toMatchObject({ ok: true });
    expect(await run((plan) => ratioLoss(plan, 3), 2)).toMatchObject({ ok: true });
  });

  it('of a paced router', async () => {
    const config: MergerConfig = { hiddenSize: D, maxRun: 5, mix: 'select', router: 'paced' };
    const report = await gradcheck(
      (h, query, key, bias, sharpness) => {
        const merger = new SoftTokenMerger(
          config,
          new Map([
            ['query.weight', query as Tensor],
            ['key.weight', key as Tensor],
            ['run_bias', bias as Tensor],
            ['sharpness', sharpness as Tensor],
            ['importance.weight', (h as Tensor).arena.zeros([1, D])],
            ['gate', (h as Tensor).arena.zeros([D])],
          ]),
        );
        return merger.forwardSync(h as Tensor, { counts }).plan.probability as Tensor;
      },
      [{ shape: [T, D] }, { shape: [D, D] }, { shape: [D, D] }, { shape: [5, 1] }, { shape: [1] }],
      { backend, seed: 3 },
    );
    expect(report).toMatchObject({ ok: true });
  });

  it('of inflation', async () => {
    const config: InflatorConfig = { hiddenSize: D, maxRun: 5, offsets: true, refine: true };
    const names = [...DynamicTokenInflator.init(config, { backend }).parameters()];
    const plan = makePlan({ counts, threshold: 0.5, maxRun: 5, boundaries });
    const E = plan.size.length;
    const report = await gradcheck(
      (h, entries, middle, ...parameters) => {
        const inflator = new DynamicTokenInflator(
          config,
          new Map(names.map(([name], i) => [name, parameters[i] as Tensor])),
        );
        return inflator.forward(h as Tensor, entries as Tensor, middle as Tensor, plan);
      },
      [[T, D], [E, D], [E, D], ...names.map(([, { shape }]) => shape)].map((shape) => ({ shape })),
      { backend },
    );
    expect(report).toMatchObject({ ok: true });
  });

  it('of smoothing, fused and in waves', async () => {
    for (const own of [backend, withoutOps(backend, 'smoothRows')]) {
      const report = await gradcheck(
        (x, g) => smooth(x as Tensor, g as Tensor, [1, 0, 0, 1, 1, 0]),
        [{ shape: [6, D] }, { shape: [6, 1] }],
        { backend: own },
      );
      expect(report).toMatchObject({ ok: true });
    }
  });

  it('of smoothing are the same fused as in waves', async () => {
    const starts = Array.from({ length: 40 }, (_, n) => Number(n % 13 === 0));
    const run = (own: Backend) => {
      const owner = new Arena(own, { persistent: true });
      using arena = new Arena(own, { grad: true });
      const x = owner.parameter(normals(40 * D, 1), [40, D]);
      const g = owner.parameter(
        normals(40, 2).map((v) => 1 / (1 + Math.exp(v))),
        [40, 1],
      );
      const y = smooth(arena.adopt(x), arena.adopt(g), starts);
      sum(mul(y, arena.tensor(normals(40 * D, 3), [40, D]))).backward();
      return [y, x.grad as Tensor, g.grad as Tensor].map((t) => Array.from(t.readSync()));
    };
    const waves = run(withoutOps(backend, 'smoothRowsGrad'));
    for (const [i, values] of run(backend).entries())
      expect(distance(values, waves[i] as number[])).toBeLessThan(1e-14);
  });
});

describe('the ratio', () => {
  const N = 4;

  it('is pushed up below 1 / N boundaries, down above, not at all there', async () => {
    const slope = async (share: number) => {
      const owner = new Arena(backend, { persistent: true });
      using arena = new Arena(backend, { grad: true });
      const values = Array.from({ length: 41 }, (_, t) => ((t - 1) / 40 < share ? 0.9 : 0.1));
      const leaf = owner.parameter(values, [41]);
      const plan = makePlan({
        counts: [41],
        threshold: 0.5,
        maxRun: 99,
        probabilities: values,
        probability: arena.adopt(leaf),
      });
      ratioLoss(plan, N).backward();
      const [, slope] = await (leaf.grad as Tensor).read();
      owner.dispose();
      return slope as number;
    };
    expect(await slope(0.1)).toBeLessThan(-1e-3);
    expect(await slope(0.5)).toBeGreaterThan(1e-3);
    expect(Math.abs(await slope(0.25))).toBeLessThan(1e-12);
  });

  it('is reached by training the router on the ratio loss alone', async () => {
    const width = 8;
    const aim = 2.2;
    const owner = new Arena(backend, { persistent: true });
    const merger = SoftTokenMerger.init({ hiddenSize: width, maxRun: 64 }, { arena: owner });
    const optimizer = new AdamW(merger.parameters(), {
      lr: 0.02,
      beta1: 0.9,
      beta2: 0.95,
      eps: 1e-8,
      weightDecay: 0,
      maxGradNorm: 1,
    });
    using arena = new Arena(backend, { grad: true });
    const random = new Random(3);
    const rates: number[] = [];
    for (let step = 0; step < 120; step++) {
      // A part in common, so that neighbours can be told to be alike.
      const h = affine(arena.tensor(normals(200 * width, random.integer(0, 1e6)), [200, width]), 1, 0.8);
      const { plan } = merger.forwardSync(h);
      ratioLoss(plan, aim).backward();
      optimizer.step(arena, { lr: 0.02 });
      optimizer.zeroGrad(arena);
      rates.push((plan.size.length - 1) / 199);
      arena.reset();
    }
    const latest = rates.slice(-40).reduce((a, b) => a + b, 0) / 40;
    expect(rates[0]).toBeLessThan(0.25);
    expect(Math.abs(latest * aim - 1)).toBeLessThan(0.1);
    owner.dispose();
  });
});
