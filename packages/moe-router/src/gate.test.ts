import { createReference } from '@minke/gpu-backends/reference';
import { Arena, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { deepseekV3Gate, type MoeConfig } from './config.ts';
import { route } from './gate.ts';

const base: MoeConfig = {
  ...deepseekV3Gate,
  groups: 1,
  topGroups: 1,
  hiddenSize: 1,
  expertSize: 1,
  experts: 4,
  topK: 2,
};
const logit = (p: number): number => Math.log(p / (1 - p));

/** Routes one token whose sigmoid affinities are `scores`. */
function routeScores(
  scores: number[],
  bias: number[],
  config: MoeConfig,
): { indices: number[]; weights: number[] } {
  const arena = new Arena(createReference({ bits: 64 }));
  const x = arena.tensor([1], [1, 1]);
  const gate = arena.tensor(scores.map(logit), [scores.length, 1]);
  const result = route(x, gate, arena.tensor(bias, [bias.length]), config);
  const values = (t: Tensor): number[] => Array.from(t.readSync());
  return { indices: values(result.indices), weights: values(result.weights) };
}

describe('route, noaux_tc', () => {
  it('lets the bias choose but not weigh', () => {
    const { indices, weights } = routeScores([0.9, 0.2, 0.6, 0.5], [0, 1, 0, 0], base);
    expect(indices).toEqual([0, 1]);
    expect(weights[0]).toBeCloseTo((2.5 * 0.9) / 1.1, 12);
    expect(weights[1]).toBeCloseTo((2.5 * 0.2) / 1.1, 12);
  });

  it('gives weights that sum to the scaling factor', () => {
    const { weights } = routeScores([0.3, 0.2, 0.6, 0.5], [0, 0, 0, 0], base);
    expect(weights.reduce((a, b) => a + b, 0)).toBeCloseTo(2.5, 12);
  });

  it('scores a group by its two best choices', () => {
    const config = { ...base, groups: 2, topGroups: 1 };
    // Group 0 has the single best expert, group 1 the better pair.
    expect(routeScores([0.9, 0.1, 0.6, 0.55], [0, 0, 0, 0], config).indices).toEqual([2, 3]);
  });

  it('keeps to allowed groups when every biased score is negative', () => {
    const config = { ...base, groups: 2, topGroups: 1 };
    expect(routeScores([0.2, 0.3, 0.6, 0.7], [-5, -5, -9, -9], config).indices).toEqual([0, 1]);
  });

  it('gives ties to the lowest expert', () => {
    expect(routeScores([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0], base).indices).toEqual([0, 1]);
  });
});

describe('route, group_limited_greedy', () => {
  it('scores a group by its best expert and scales without normalising', () => {
    const config: MoeConfig = {
      ...base,
      method: 'group_limited_greedy',
      groups: 2,
      topGroups: 1,
      normTopK: false,
      scalingFactor: 16,
    };
    const { indices, weights } = routeScores([0.9, 0.1, 0.6, 0.55], [0, 0, 0, 0], config);
    expect(indices).toEqual([0, 1]);
    expect(weights[0]).toBeCloseTo(16 * 0.9, 10);
  });
});
