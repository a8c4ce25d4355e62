// Agreement with TRL: tools/parity/objectives.py writes the fixture with TRL's own code.
import { readFileSync } from 'node:fs';
import type { Backend } from '@minke/core';
import { auto } from '@minke/gpu-backends';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, mean, mul, sum, type Tensor } from '@minke/tensor';
import { afterAll, describe, expect, test } from 'vitest';
import { rewardMetrics } from '../rewards/reward-metrics.ts';
import {
  advantagesOfTokens,
  bradleyTerryLoss,
  type DpoConfig,
  distillationLoss,
  dpoLoss,
  gae,
  ktoLoss,
  normalizeThenSum,
  type PolicyObjective,
  packSegments,
  pointwiseLoss,
  policyObjective,
  preferenceMetrics,
  reinforcePlusPlus,
  rewardModelMetrics,
  type Score,
  sampleAdvantages,
  stepMetrics,
  sumRewards,
  tokenEntropies,
  tokenLogProbs,
  tokenRewards,
  tokenValueLoss,
} from './index.ts';

interface PolicyCase {
  objective: PolicyObjective;
  value: number;
  grad: number[];
  metrics: Record<string, number>;
  entropyGrad: number[] | null;
}
interface Fixture {
  batch: {
    lengths: number[];
    maxCompletionLength: number;
    logProbs: number[];
    oldLogProbs: number[];
    refLogProbs: number[];
    samplingLogProbs: number[];
    entropies: number[];
    advantages: number[];
  };
  policies: Record<string, PolicyCase>;
  logProbs: ({ temperature: number } & Record<
    | 'logits'
    | 'targets'
    | 'logProbs'
    | 'entropies'
    | 'dLogProbs'
    | 'dEntropies'
    | 'logitsGrad'
    | 'entropyGrad',
    number[]
  >)[];
  rewards: { groupSize: number; weights: number[]; first: Score[]; second: Score[]; sum: Score[] };
  advantages: Record<'group' | 'batch' | 'none' | 'normalizeThenSum' | 'rloo' | 'rlooNormalized', number[]>;
  tokenAdvantages: {
    lengths: number[];
    beta: number;
    rewards: number[];
    logProbs: number[];
    refLogProbs: number[];
    values: number[];
    tokenRewards: number[];
    reinforcePlusPlus: { gamma: number; advantages: number[] };
    gae: { gamma: number; lambda: number; advantages: number[]; returns: number[] };
    baseline: number[];
    remax: { greedy: number[]; advantages: number[] };
  };
  valueLoss: {
    epsilon: number;
    values: number[];
    oldValues: number[];
    returns: number[];
    each: number[];
    grad: number[];
  };
  rewardModel: {
    chosen: number[];
    rejected: number[];
    margins: number[] | null;
    centering: number;
    value: number;
    grad: number[];
    metrics: Record<string, number>;
  }[];
  pointwise: { scores: number[]; labels: number[]; value: number; grad: number[] };
  preferences: (DpoConfig & {
    lengths: number[];
    logProbs: number[];
    refLogProbs: number[];
    value: number;
    grad: number[];
    metrics: Record<string, number>;
  })[];
  kto: {
    beta: number;
    desirableWeight: number;
    undesirableWeight: number;
    logRatios: number[];
    labels: number[];
    kl: number;
    value: number;
    grad: number[];
  };
  distillation: {
    beta: number;
    temperature: number;
    student: number[];
    teacher: number[];
    value: number;
    grad: number[];
  }[];
}
const fixture = JSON.parse(
  readFileSync(new URL('../../fixtures/objectives.json', import.meta.url), 'utf8'),
) as Fixture;

/** Largest error relative to the largest expected number, or absolute where that is below 1e-2. */
function errorOf(actual: ArrayLike<number>, expected: readonly number[]): number {
  expect(actual.length).toBe(expected.length);
  const scale = Math.max(1e-2, ...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs(actual[i]! - value))) / scale;
}

/** Value and gradients of `f` on one backend. */
async function evaluate(
  backend: Backend,
  inputs: readonly { data: readonly number[]; shape?: readonly number[] }[],
  f: (arena: Arena, ...xs: Tensor[]) => Tensor,
): Promise<{ value: ArrayLike<number>; grads: ArrayLike<number>[] }> {
  using owner = new Arena(backend, { persistent: true });
  using arena = new Arena(backend, { grad: true });
  const parameters = inputs.map(({ data, shape }) => owner.parameter(data, shape ?? [data.length]));
  const y = f(arena, ...parameters.map((p) => arena.adopt(p)));
  sum(y).backward();
  const value = await y.read();
  const grads = await Promise.all(parameters.map(async (p) => (await p.grad?.read()) ?? []));
  return { value, grads };
}

const up = (arena: Arena, data: readonly number[]) => arena.tensor(data, [data.length]);

// TRL's distillation runs in f32, so f64 agrees with it to f32's rounding only.
describe.each([
  { on: 'the reference in f64', backend: createReference({ bits: 64 }), tolerance: 1e-12, single: 1e-6 },
  { on: 'the reference in f32', backend: createReference({ bits: 32 }), tolerance: 1e-5, single: 1e-5 },
  { on: 'the kernels of this machine', backend: await auto(), tolerance: 1e-5, single: 1e-5 },
])('on $on, values and gradients equal those of TRL:', ({ backend, tolerance, single }) => {
  afterAll(() => backend.dispose());

  test.each(Object.keys(fixture.policies))('policy objective %s', async (name) => {
    const { objective, value, grad, entropyGrad } = fixture.policies[name]!;
    const { batch } = fixture;
    const totals = {
      sequences: batch.lengths.length,
      tokens: batch.logProbs.length,
      maxCompletionLength: batch.maxCompletionLength,
    };
    const result = await evaluate(
      backend,
      [{ data: batch.logProbs }, { data: batch.entropies }],
      (arena, logProbs, entropies) =>
        policyObjective(
          {
            segments: packSegments(arena, batch.lengths),
            logProbs: logProbs!,
            entropies: entropies!,
            oldLogProbs: up(arena, batch.oldLogProbs),
            refLogProbs: up(arena, batch.refLogProbs),
            samplingLogProbs: up(arena, batch.samplingLogProbs),
            advantages: up(arena, batch.advantages),
          },
          objective,
          totals,
        ),
    );
    expect(errorOf(result.value, [value])).toBeLessThanOrEqual(tolerance);
    expect(errorOf(result.grads[0]!, grad)).toBeLessThanOrEqual(tolerance);
    if (entropyGrad !== null) expect(errorOf(result.grads[1]!, entropyGrad)).toBeLessThanOrEqual(tolerance);
  });

  test.each(fixture.logProbs.map((c) => [c.temperature, c] as const))(
    'log-probabilities and entropies at temperature %d',
    async (temperature, c) => {
      const logits = { data: c.logits, shape: [5, 7] };
      const targets = (arena: Arena) => arena.tensor(c.targets, [5], 'i32');
      const weighted = async (f: (arena: Arena, x: Tensor) => Tensor, weights: number[]) => {
        const plain = await evaluate(backend, [logits], (arena, x) => f(arena, x!));
        const { grads } = await evaluate(backend, [logits], (arena, x) =>
          mul(f(arena, x!), up(arena, weights)),
        );
        return { value: plain.value, grad: grads[0]! };
      };
      const l = await weighted((arena, x) => tokenLogProbs(x, targets(arena), temperature), c.dLogProbs);
      expect(errorOf(l.value, c.logProbs)).toBeLessThanOrEqual(tolerance);
      expect(errorOf(l.grad, c.logitsGrad)).toBeLessThanOrEqual(tolerance);
      const h = await weighted((_, x) => tokenEntropies(x, temperature), c.dEntropies);
      expect(errorOf(h.value, c.entropies)).toBeLessThanOrEqual(tolerance);
      expect(errorOf(h.grad, c.entropyGrad)).toBeLessThanOrEqual(tolerance);
    },
  );

  test('the value loss', async () => {
    const { values, oldValues, returns, epsilon, each, grad } = fixture.valueLoss;
    const result = await evaluate(backend, [{ data: values }], (arena, v) =>
      tokenValueLoss(v!, up(arena, oldValues), up(arena, returns), { epsilon }),
    );
    expect(errorOf(result.value, each)).toBeLessThanOrEqual(tolerance);
    expect(errorOf(result.grads[0]!, grad)).toBeLessThanOrEqual(tolerance);
  });

  test.each([0, 1, 2])('reward model on pairs, case %d', async (index) => {
    const { chosen, rejected, margins, centering, value, grad } = fixture.rewardModel[index]!;
    const result = await evaluate(backend, [{ data: chosen }, { data: rejected }], (arena, c, r) =>
      bradleyTerryLoss(c!, r!, {
        pairs: chosen.length,
        centering,
        ...(margins && { margins: up(arena, margins) }),
      }),
    );
    expect(errorOf(result.value, [value])).toBeLessThanOrEqual(tolerance);
    expect(
      errorOf([...Array.from(result.grads[0]!), ...Array.from(result.grads[1]!)], grad),
    ).toBeLessThanOrEqual(tolerance);
  });

  test('reward model on labels', async () => {
    const { scores, labels, value, grad } = fixture.pointwise;
    const result = await evaluate(backend, [{ data: scores }], (arena, s) =>
      pointwiseLoss(s!, up(arena, labels), { samples: scores.length }),
    );
    expect(errorOf(result.value, [value])).toBeLessThanOrEqual(tolerance);
    expect(errorOf(result.grads[0]!, grad)).toBeLessThanOrEqual(tolerance);
  });

  test.each(fixture.preferences.map((p) => [`${p.name} ${p.labelSmoothing}`, p] as const))(
    'DPO %s',
    async (_, { lengths, logProbs, refLogProbs, value, grad, ...config }) => {
      const result = await evaluate(
        backend,
        [{ data: logProbs.slice(0, 3) }, { data: logProbs.slice(3) }],
        (arena, chosen, rejected) =>
          dpoLoss(
            {
              chosen: chosen!,
              rejected: rejected!,
              refChosen: up(arena, refLogProbs.slice(0, 3)),
              refRejected: up(arena, refLogProbs.slice(3)),
              chosenLengths: up(arena, lengths.slice(0, 3)),
              rejectedLengths: up(arena, lengths.slice(3)),
            },
            config,
            { pairs: 3 },
          ),
      );
      expect(errorOf(result.value, [value])).toBeLessThanOrEqual(tolerance);
      const grads = result.grads.flatMap((g) => Array.from(g));
      expect(errorOf(grads, grad)).toBeLessThanOrEqual(tolerance);
    },
  );

  test('KTO', async () => {
    const { logRatios, labels, kl, value, grad, ...config } = fixture.kto;
    const result = await evaluate(backend, [{ data: logRatios }], (arena, x) =>
      ktoLoss(x!, up(arena, labels), up(arena, [kl]), config, { samples: labels.length }),
    );
    expect(errorOf(result.value, [value])).toBeLessThanOrEqual(tolerance);
    expect(errorOf(result.grads[0]!, grad)).toBeLessThanOrEqual(tolerance);
  });

  test.each(fixture.distillation.map((d) => [d.beta, d.temperature, d] as const))(
    'distillation with beta %d at temperature %d',
    async (beta, temperature, { student, teacher, value, grad }) => {
      const result = await evaluate(backend, [{ data: student, shape: [4, 6] }], (arena, s) =>
        mean(distillationLoss(s!, arena.tensor(teacher, [4, 6]), { beta, temperature })),
      );
      expect(errorOf(result.value, [value])).toBeLessThanOrEqual(single);
      expect(errorOf(result.grads[0]!, grad)).toBeLessThanOrEqual(single);
    },
  );
});

describe('on the host, in float64,', () => {
  const { groupSize, weights, first, second } = fixture.rewards;
  const table = { names: ['a', 'b'], rewards: [first, second], weights, groupSize };
  const total = sumRewards(table);

  test('rewards with missing scores sum as in TRL', () => {
    expect(total).toEqual(fixture.rewards.sum);
    const groups = total
      .flatMap((_, i) => (i % groupSize === 0 ? [i] : []))
      .map((at) => ({
        totals: total.slice(at, at + groupSize),
        columns: { a: first.slice(at, at + groupSize), b: second.slice(at, at + groupSize) },
      }));
    const metrics = rewardMetrics(groups);
    expect(metrics['rewards/a/mean']).toBeCloseTo(7.5 / 11, 12);
    expect(metrics.frac_reward_zero_std).toBe(0.5);
  });

  test.each([
    [
      'group',
      (r: Score[]) => sampleAdvantages(r, { name: 'grpo', scale: 'group', epsilon: 1e-4 }, { groupSize }),
    ],
    [
      'batch',
      (r: Score[]) => sampleAdvantages(r, { name: 'grpo', scale: 'batch', epsilon: 1e-4 }, { groupSize }),
    ],
    [
      'none',
      (r: Score[]) => sampleAdvantages(r, { name: 'grpo', scale: 'none', epsilon: 1e-4 }, { groupSize }),
    ],
    [
      'rloo',
      (r: Score[]) => sampleAdvantages(r, { name: 'rloo', normalize: false, epsilon: 1e-4 }, { groupSize }),
    ],
    [
      'rlooNormalized',
      (r: Score[]) => sampleAdvantages(r, { name: 'rloo', normalize: true, epsilon: 1e-4 }, { groupSize }),
    ],
    ['normalizeThenSum', () => normalizeThenSum(table)],
  ] as const)('advantages "%s" equal those of TRL', (name, advantages) => {
    // TRL's Bessel correction is a quotient of counts in float32.
    expect(errorOf(advantages(total), fixture.advantages[name])).toBeLessThanOrEqual(1e-7);
  });

  test('advantages of tokens equal the formulas of verl', () => {
    const t = fixture.tokenAdvantages;
    const rewards = tokenRewards(t.rewards, t.lengths, t);
    expect(errorOf(rewards, t.tokenRewards)).toBeLessThanOrEqual(1e-12);
    const plus = reinforcePlusPlus(rewards, t.lengths, t.reinforcePlusPlus);
    expect(errorOf(plus, t.reinforcePlusPlus.advantages)).toBeLessThanOrEqual(1e-12);
    const estimate = gae(rewards, t.values, t.lengths, t.gae);
    expect(errorOf(estimate.advantages, t.gae.advantages)).toBeLessThanOrEqual(1e-12);
    expect(errorOf(estimate.returns, t.gae.returns)).toBeLessThanOrEqual(1e-12);
    const { lengths } = t;
    const baseline = sampleAdvantages(t.rewards, { name: 'reinforce++-baseline' }, { groupSize: 2, lengths });
    expect(errorOf(advantagesOfTokens(baseline, lengths), t.baseline)).toBeLessThanOrEqual(1e-12);
    const remax = sampleAdvantages(
      t.rewards,
      { name: 'remax' },
      { groupSize: 2, greedyRewards: t.remax.greedy },
    );
    expect(errorOf(remax, t.remax.advantages)).toBeLessThanOrEqual(1e-12);
  });

  test.each(Object.keys(fixture.policies))('metrics of %s equal those of TRL', (name) => {
    const { objective, metrics } = fixture.policies[name]!;
    const { lengths, maxCompletionLength, ...arrays } = fixture.batch;
    const ours = stepMetrics({ lengths, ...arrays }, objective.loss, objective.klEstimator);
    // TRL logs a KL that the ratio has weighted already; ours is the estimate itself.
    const skipped = objective.klRatioCorrection ? ['kl'] : [];
    const names = Object.keys(metrics).filter((key) => key in ours && !skipped.includes(key));
    for (const key of names) expect(Math.abs(ours[key]! - metrics[key]!), key).toBeLessThanOrEqual(1e-6);
    if (objective.loss.name === 'clip' && Object.keys(metrics).length > 0)
      expect(names).toEqual(
        expect.arrayContaining(['clip_ratio/low_mean', 'clip_ratio/high_max', 'entropy']),
      );
  });

  test('metrics of reward models and preferences equal those of TRL', () => {
    for (const { chosen, rejected, metrics } of fixture.rewardModel)
      for (const [key, value] of Object.entries(rewardModelMetrics(chosen, rejected)))
        expect(value).toBeCloseTo(metrics[key]!, 6);
    for (const { logProbs, refLogProbs, beta, metrics } of fixture.preferences) {
      const [l, r] = [logProbs, refLogProbs];
      const ours = preferenceMetrics(l.slice(0, 3), l.slice(3), r.slice(0, 3), r.slice(3), beta);
      for (const [key, value] of Object.entries(metrics))
        expect(ours[key as keyof typeof ours]).toBeCloseTo(value, 6);
    }
  });
});
