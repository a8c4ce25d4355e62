import { describe, expect, it } from 'vitest';
import { type Schedule, scheduleFactor } from './schedule.ts';

const base: Schedule = { shape: 'cosine', warmupSteps: 4, finalFraction: 0.1, decayFraction: 0.25 };
const curve = (schedule: Schedule, steps: number): number[] =>
  Array.from({ length: steps }, (_, step) => scheduleFactor(schedule, step, steps));

describe('scheduleFactor', () => {
  it('warms up linearly and ends a cosine at the final fraction', () => {
    const factors = curve(base, 20);
    expect(factors.slice(0, 5)).toEqual([0.25, 0.5, 0.75, 1, 1]);
    expect(factors[19]).toBeCloseTo(0.1, 12);
    expect(scheduleFactor({ ...base, warmupSteps: 0 }, 10, 21)).toBeCloseTo(0.55, 12);
  });

  it('holds, then decays over the last share', () => {
    const factors = curve({ ...base, shape: 'warmup-stable-decay', finalFraction: 0 }, 40);
    expect(factors[29]).toBe(1);
    expect(factors[30]).toBe(1);
    expect(factors[35]).toBeCloseTo(1 - 5 / 9, 12);
    expect(factors[39]).toBe(0);
  });

  it('stays constant, or falls in a line', () => {
    expect(curve({ ...base, shape: 'constant' }, 10).slice(4)).toEqual([1, 1, 1, 1, 1, 1]);
    expect(scheduleFactor({ ...base, shape: 'linear', warmupSteps: 0 }, 5, 11)).toBeCloseTo(0.55, 12);
  });

  it('refuses steps beyond the run', () => {
    expect(() => scheduleFactor(base, 20, 20)).toThrow('below 20');
  });
});
