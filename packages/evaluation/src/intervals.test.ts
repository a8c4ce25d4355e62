import { describe, expect, it } from 'vitest';
import { passAtK, wilson } from './intervals.ts';

describe('wilson', () => {
  it('matches scipy.stats.binomtest(c, n).proportion_ci(method="wilson")', () => {
    const near = (rate: { low: number; high: number }, low: number, high: number) => {
      expect(rate.low).toBeCloseTo(low, 6);
      expect(rate.high).toBeCloseTo(high, 6);
    };
    near(wilson(90, 100), 0.825634, 0.944771);
    near(wilson(450, 500), 0.870578, 0.923322);
    near(wilson(1, 10), 0.017876, 0.40415);
  });

  it('is neither empty nor outside [0, 1] at the ends', () => {
    expect(wilson(0, 20)).toMatchObject({ value: 0, low: 0 });
    expect(wilson(0, 20).high).toBeCloseTo(0.161125, 6);
    expect(wilson(20, 20)).toMatchObject({ value: 1, high: 1 });
    expect(wilson(20, 20).low).toBeCloseTo(0.838875, 6);
    expect(wilson(0, 0)).toEqual({ value: Number.NaN, low: 0, high: 1 });
  });

  it('contains the rate, narrows with n, and mirrors under success and failure', () => {
    for (let n = 1; n < 60; n++)
      for (let c = 0; c <= n; c++) {
        const { value, low, high } = wilson(c, n);
        expect(low).toBeLessThanOrEqual(value);
        expect(high).toBeGreaterThanOrEqual(value);
        expect(1 - wilson(n - c, n).high).toBeCloseTo(low, 12);
        const more = wilson(10 * c, 10 * n);
        expect(more.high - more.low).toBeLessThan(high - low);
      }
  });

  it('rejects counts that cannot be', () => {
    expect(() => wilson(3, 2)).toThrow(/successes <= trials/);
    expect(() => wilson(0.5, 2)).toThrow(/integers/);
  });
});

describe('passAtK', () => {
  it('equals the share of k-subsets that hold a correct sample', () => {
    for (let n = 1; n <= 8; n++)
      for (let c = 0; c <= n; c++)
        for (let k = 1; k <= n; k++) {
          let subsets = 0;
          let passing = 0;
          for (let mask = 0; mask < 1 << n; mask++) {
            const bits = [...mask.toString(2)].filter((bit) => bit === '1').length;
            if (bits !== k) continue;
            subsets++;
            if (mask & ((1 << c) - 1)) passing++; // samples 0 to c - 1 are the correct ones
          }
          expect(passAtK(n, c, k)).toBeCloseTo(passing / subsets, 12);
        }
  });

  it('stays finite where binomials overflow', () => {
    expect(passAtK(10_000, 1, 5_000)).toBeCloseTo(0.5, 9);
  });

  it('rejects impossible counts', () => {
    expect(() => passAtK(4, 5, 1)).toThrow(/0 <= c <= n/);
    expect(() => passAtK(4, 1, 5)).toThrow(/1 <= k <= n/);
  });
});
