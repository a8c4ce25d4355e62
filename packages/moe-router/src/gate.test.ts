import { type Backend, Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, add, gradcheck, mul, sum, type Tensor } from '@minke/tensor';
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

describe('route in one op', () => {
  const configs = (['softmax', 'sigmoid'] as const).flatMap((scoring) =>
    [true, false].map(
      (normTopK): MoeConfig => ({ ...base, experts: 6, groups: 2, topK: 2, scoring, normTopK }),
    ),
  );
  const random = new Random(11);
  const logits = { data: Array.from({ length: 5 * 6 }, () => random.normal()), shape: [5, 6] };
  const identity = Array.from({ length: 36 }, (_, i) => (i % 7 === 0 ? 1 : 0));
  /** Weights and scores, weighted differently, of logits given as x. */
  const probe = (config: MoeConfig) => (x: Tensor) => {
    const { arena } = x;
    const { scores, weights } = route(x, arena.tensor(identity, [6, 6]), arena.zeros([6]), config);
    const number = (t: Tensor) =>
      arena.tensor(
        Array.from({ length: t.size }, (_, i) => Math.sin(i)),
        t.shape,
      );
    return add(sum(mul(scores, number(scores))), sum(mul(weights, number(weights))));
  };

  it.each(configs)(
    'has the gradient of its weights and of its scores ($scoring, $normTopK)',
    async (config) => {
      expect(await gradcheck(probe(config), [logits])).toMatchObject({ ok: true });
    },
  );

  it.each(configs)('agrees with the ops it stands for ($scoring, $normTopK)', (config) => {
    const inner = createReference({ bits: 64 });
    const composed: Backend = { ...inner, supports: (op) => op !== 'route' };
    const results = [inner, composed].map((backend) => {
      const leaf = new Arena(backend, { persistent: true }).parameter(logits.data, logits.shape);
      const arena = new Arena(backend, { grad: true });
      const loss = sum(probe(config)(arena.adopt(leaf)));
      loss.backward();
      return [...loss.readSync(), ...leaf.grad!.readSync()];
    });
    results[0]!.forEach((value, i) => {
      expect(value).toBeCloseTo(results[1]![i]!, 12);
    });
  });
});
