import { describe, expect, it } from 'vitest';
import { coverageText } from './coverage.ts';

type Point = readonly [value: number, low: number, high: number];

const model = (stage: string, points: Readonly<Record<string, Point>>) => ({
  stage,
  rows: Object.entries(points).map(([metric, [value, low, high]]) => ({
    metric,
    value,
    low,
    high,
    n: 100,
    seeds: [0],
  })),
});

const base = model('base', { 'pass@1': [0.4, 0.35, 0.45], 'pass@256': [0.9, 0.85, 0.95] });
const final = (once: Point, often: Point) => model('final', { 'pass@1': once, 'pass@256': often });

describe('coverageText', () => {
  it('tells sharpening, extension and narrowing apart by intervals', () => {
    const better: Point = [0.8, 0.75, 0.85];
    expect(coverageText([base, final(better, [0.92, 0.87, 0.97])])).toContain('with no proof of more');
    expect(coverageText([base, final(better, [0.99, 0.97, 1])])).toContain('extended what the model can do');
    expect(coverageText([base, final(better, [0.82, 0.8, 0.84])])).toContain('narrowed it');
    expect(coverageText([base, final([0.42, 0.37, 0.47], [0.99, 0.97, 1])])).toContain('no more reliable');
  });

  it('takes pass@1 from samples where another was measured greedily', () => {
    const greedy = model('final', {
      'pass@1': [0.85, 0.8, 0.9],
      'pass@1 at T 1': [0.8, 0.75, 0.85],
      'pass@256': [0.92, 0.87, 0.97],
    });
    expect(coverageText([base, greedy])).toMatch(/^In one sample final solves 0\.800 \(0\.750 to 0\.850\)/);
  });

  it('compares those that were drawn most often, and says nothing of one alone', () => {
    const seldom = model('zero', { 'pass@1': [0.7, 0.6, 0.8], 'pass@8': [0.8, 0.7, 0.9] });
    const last = final([0.8, 0.75, 0.85], [0.92, 0.87, 0.97]);
    expect(coverageText([base, last, seldom])).toMatch(/^In one sample final .* base .* in 256 samples/);
    expect(coverageText([base, seldom])).toBeUndefined();
    expect(coverageText([])).toBeUndefined();
  });
});
