// PPO against torch: tools/parity/ppo.py writes the fixture, on padded tensors with masked tokens; ours are packed.
import { readFileSync } from 'node:fs';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, type Tensor } from '@minke/tensor';
import { describe, expect, test } from 'vitest';
import { testBackend } from '../testing/small-model.ts';
import {
  type Aggregation,
  aggregate,
  packSegments,
  policyObjective,
  presets,
  stepAdvantages,
  tokenRewards,
  tokenValueLoss,
  valueLossMetrics,
  valueMetrics,
} from './index.ts';

type Columns = Record<
  | 'lengths'
  | 'rewards'
  | 'oldLogProbs'
  | 'refLogProbs'
  | 'values'
  | 'logProbs'
  | 'predicted'
  | 'tokenRewards'
  | 'advantages'
  | 'returns'
  | 'policyGrad'
  | 'valueGrad',
  number[]
>;
interface Case extends Columns {
  gamma: number;
  lambda: number;
  beta: number;
  aggregation: Aggregation;
  epsilon: number | null;
  policyLoss: number;
  valueLoss: number;
  metrics: Record<string, number>;
}
const fixture = JSON.parse(readFileSync(new URL('../../fixtures/ppo.json', import.meta.url), 'utf8')) as {
  readonly clip: readonly [number, number];
  readonly estimates: readonly Case[];
};
const [epsilonLow, epsilonHigh] = fixture.clip;
const exact = createReference({ bits: 64 });
const kernels = await testBackend();

/** Largest error relative to the largest expected number. */
const errorOf = (actual: ArrayLike<number>, expected: readonly number[]) => {
  expect(actual.length).toBe(expected.length);
  const scale = Math.max(1e-2, ...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs((actual[i] as number) - value))) / scale;
};

describe.each(fixture.estimates.map((c) => [c.gamma, c.lambda, c] as const))(
  'with discount %d and lambda %d,',
  (gamma, lambda, c) => {
    const { lengths, aggregation, epsilon } = c;

    test('advantages and returns equal those of torch', () => {
      const policies = { logProbs: c.oldLogProbs, refLogProbs: c.refLogProbs };
      const rewards = tokenRewards(c.rewards, lengths, { beta: c.beta, ...policies });
      expect(errorOf(rewards, c.tokenRewards)).toBeLessThan(1e-12);
      const table = { names: ['score'], rewards: [c.rewards], groupSize: 1 };
      const config = {
        ...presets.ppo,
        advantage: { name: 'gae' as const, gamma, lambda },
        rewardBeta: c.beta,
      };
      const step = stepAdvantages({ table, lengths, ...policies, values: c.values }, config);
      expect(errorOf(step.advantages, c.advantages)).toBeLessThan(1e-12);
      expect(errorOf(step.returns ?? [], c.returns)).toBeLessThan(1e-12);
    });

    test.each([
      ['the reference in f64', exact, 1e-12],
      ['the kernels of this machine', kernels, 1e-5],
    ] as const)(
      'both losses and their gradients equal those of torch on %s',
      async (_, backend, tolerance) => {
        using owner = new Arena(backend, { persistent: true });
        using arena = new Arena(backend, { grad: true });
        const up = (values: readonly number[]) => arena.tensor(values, [values.length]);
        const check = async (
          at: readonly number[],
          f: (x: Tensor) => Tensor,
          value: number,
          grad: number[],
        ) => {
          const x = owner.parameter(at, [at.length]);
          const loss = f(arena.adopt(x));
          loss.backward();
          expect(errorOf(await loss.read(), [value])).toBeLessThan(tolerance);
          expect(errorOf((await x.grad?.read()) ?? [], grad)).toBeLessThan(tolerance);
        };
        const segments = packSegments(arena, lengths);
        const totals = { sequences: lengths.length, tokens: c.values.length };
        const objective = {
          ...presets.ppo.objective,
          ...{
            aggregation,
            loss: { name: 'clip' as const, ratio: 'token' as const, epsilonLow, epsilonHigh },
          },
        };
        const advantages = up(c.advantages);
        const policy = (logProbs: Tensor) =>
          policyObjective(
            { segments, logProbs, advantages, oldLogProbs: up(c.oldLogProbs) },
            objective,
            totals,
          );
        await check(c.logProbs, policy, c.policyLoss, c.policyGrad);
        const value = (predicted: Tensor) => {
          const clip = { epsilon: epsilon ?? Number.POSITIVE_INFINITY };
          const each = tokenValueLoss(predicted, up(c.values), up(c.returns), clip);
          return aggregate(each, segments, aggregation, totals);
        };
        await check(c.predicted, value, c.valueLoss, c.valueGrad);
      },
    );

    test('figures of the critic equal those of torch', () => {
      const figures = { ...valueMetrics(c), ...valueLossMetrics(c.predicted, c, epsilon) };
      for (const [name, value] of Object.entries(c.metrics))
        expect(figures[name], name).toBeCloseTo(value, 10);
    });
  },
);
