import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { bootstrapMean, pairedBootstrap, quantile } from './bootstrap.ts';

describe('quantile', () => {
  it('equals numpy.quantile', () => {
    const values = [1, 2, 4, 8, 16];
    for (const [q, expected] of [
      [0.1, 1.4],
      [0.5, 4],
      [0.9, 12.8],
      [0.97, 15.04],
      [0, 1],
      [1, 16],
    ] as const)
      expect(quantile(values, q)).toBeCloseTo(expected, 12);
  });
});

describe('bootstrapMean', () => {
  it('finds the quantiles of all resamples, listed', () => {
    const values = [0, 0.3, 1, 0.7];
    const means: number[] = [];
    for (const a of values)
      for (const b of values) for (const c of values) for (const d of values) means.push((a + b + c + d) / 4);
    means.sort((x, y) => x - y);
    const rate = bootstrapMean(values, { resamples: 40_000, seed: 3, level: 0.8 });
    expect(rate.value).toBeCloseTo(0.5, 12);
    expect(Math.abs(rate.low - quantile(means, 0.1))).toBeLessThan(0.03);
    expect(Math.abs(rate.high - quantile(means, 0.9))).toBeLessThan(0.03);
  });

  it('is the same for the same seed and needs no order of problems to be right', () => {
    const values = Array.from({ length: 50 }, (_, i) => (i % 3) / 2);
    expect(bootstrapMean(values, { seed: 5 })).toEqual(bootstrapMean(values, { seed: 5 }));
    expect(bootstrapMean(values, { seed: 5 })).not.toEqual(bootstrapMean(values, { seed: 6 }));
    expect(bootstrapMean(new Float64Array([1, 1, 1]))).toEqual({ value: 1, low: 1, high: 1 });
    expect(bootstrapMean([]).value).toBeNaN();
  });

  it('covers the truth about as often as it says', () => {
    const random = new Random(11);
    let covered = 0;
    for (let set = 0; set < 400; set++) {
      // 8 samples of problems whose own rate is uniform: the true mean is 0.5.
      const values = Array.from({ length: 60 }, () => {
        const rate = random.uniform();
        return (
          Array.from({ length: 8 }, () => (random.uniform() < rate ? 1 : 0) as number).reduce(
            (x, y) => x + y,
            0,
          ) / 8
        );
      });
      const { low, high } = bootstrapMean(values, { seed: set, resamples: 400 });
      if (low <= 0.5 && 0.5 <= high) covered++;
    }
    expect(covered / 400).toBeGreaterThan(0.91);
    expect(covered / 400).toBeLessThan(0.98);
  });

  it('has the width of the normal interval where there are many problems', () => {
    const values = Array.from({ length: 1000 }, (_, i) => (i < 500 ? 1 : 0));
    const { low, high } = bootstrapMean(values, { seed: 1 });
    expect((high - low) / (2 * 1.96 * Math.sqrt(0.25 / 1000))).toBeGreaterThan(0.93);
    expect((high - low) / (2 * 1.96 * Math.sqrt(0.25 / 1000))).toBeLessThan(1.07);
  });

  it('refuses what is no value', () => {
    expect(() => bootstrapMean([1, Number.NaN])).toThrow(/got NaN at 1/);
    expect(() => bootstrapMean([1], { resamples: 0 })).toThrow(/resamples >= 1/);
  });
});

describe('pairedBootstrap', () => {
  it('is narrower than the systems alone where problems differ in difficulty', () => {
    const random = new Random(2);
    const a = Array.from({ length: 300 }, () => random.uniform());
    const b = a.map((value) => Math.min(1, value + 0.02 + 0.02 * random.uniform()));
    const difference = pairedBootstrap(a, b);
    expect(difference.low).toBeGreaterThan(0.01);
    expect(difference.p).toBeLessThan(0.001);
    expect(difference.n).toBe(300);
    const alone = bootstrapMean(b);
    expect(difference.high - difference.low).toBeLessThan((alone.high - alone.low) / 5);
  });

  it('sees no difference of a system from itself, and mirrors', () => {
    const a = [0, 1, 0.5, 1, 0.25, 0];
    const b = [1, 1, 0.5, 0, 0.75, 0.5];
    expect(pairedBootstrap(a, a)).toEqual({ value: 0, low: 0, high: 0, n: 6, p: 1 });
    const [forth, back] = [pairedBootstrap(a, b), pairedBootstrap(b, a)];
    expect(back.value).toBeCloseTo(-forth.value, 12);
    expect(back.low).toBeCloseTo(-forth.high, 12);
    expect(back.p).toBe(forth.p);
  });

  it('rejects about 5 % of equal systems at p < 0.05', () => {
    const random = new Random(8);
    let rejected = 0;
    for (let round = 0; round < 400; round++) {
      const draw = () => Array.from({ length: 60 }, () => random.integer(0, 9) / 8);
      if (pairedBootstrap(draw(), draw(), { seed: round, resamples: 300 }).p < 0.05) rejected++;
    }
    expect(rejected / 400).toBeLessThan(0.09);
    expect(rejected / 400).toBeGreaterThan(0.02);
  });

  it('wants the same problems', () => {
    expect(() => pairedBootstrap([1], [1, 2])).toThrow(/got 1 and 2/);
    expect(() => pairedBootstrap([], [])).toThrow(/same problems/);
  });
});
