// What must hold of the objectives whatever the numbers: identities between them, and who gets a gradient.
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, crossEntropy, gatherRows, gradcheck, sum, type Tensor } from '@minke/tensor';
import { describe, expect, test } from 'vitest';
import {
  type AdvantageConfig,
  bradleyTerryLoss,
  distillationLoss,
  dpoLoss,
  klValue,
  type PolicyLoss,
  type PolicyObjective,
  packSegments,
  policyObjective,
  type StepTotals,
  sampleAdvantages,
  segmentSum,
  spread,
  stepMetrics,
  tokenEntropies,
  tokenLogProbs,
  tokenPolicyLoss,
} from './index.ts';

const clip: PolicyLoss = { name: 'clip', ratio: 'token', epsilonLow: 0.2, epsilonHigh: 0.28 };
const plain: PolicyObjective = {
  loss: clip,
  aggregation: 'dapo',
  beta: 0,
  klEstimator: 'k3',
  klRatioCorrection: false,
  correction: null,
  offPolicyThreshold: null,
  entropyCoefficient: 0,
};

interface Batch {
  lengths: number[];
  logProbs: number[];
  advantages: number[];
  oldLogProbs?: number[];
  refLogProbs?: number[];
  samplingLogProbs?: number[];
}
const batch: Batch = {
  lengths: [3, 1, 4, 2],
  logProbs: [-0.5, -1.25, -2, -0.125, -3, -0.75, -1.5, -0.25, -1, -0.375],
  advantages: [1.5, 1.5, 1.5, -0.5, -1, -1, -1, -1, 0.25, 0.25],
};
const totals: StepTotals = { sequences: 4, tokens: 10, maxCompletionLength: 6 };

async function run<T>(f: (owner: Arena, arena: Arena) => Promise<T>, bits: 32 | 64 = 64): Promise<T> {
  const backend = createReference({ bits });
  using owner = new Arena(backend, { persistent: true });
  using arena = new Arena(backend, { grad: true });
  return await f(owner, arena);
}

const upload = (arena: Arena, values: number[] | undefined) =>
  values && arena.tensor(values, [values.length]);

/** Loss and gradient by the log-probabilities. */
const evaluate = ({ lengths, ...b }: Batch, objective: PolicyObjective, t = totals, bits: 32 | 64 = 64) =>
  run(async (owner, arena) => {
    const logProbs = owner.parameter(b.logProbs, [b.logProbs.length]);
    const loss = policyObjective(
      {
        segments: packSegments(arena, lengths),
        logProbs: arena.adopt(logProbs),
        advantages: upload(arena, b.advantages)!,
        oldLogProbs: upload(arena, b.oldLogProbs),
        refLogProbs: upload(arena, b.refLogProbs),
        samplingLogProbs: upload(arena, b.samplingLogProbs),
      },
      objective,
      t,
    );
    loss.backward();
    return { value: (await loss.read())[0]!, grad: Array.from(await logProbs.grad!.read()) };
  }, bits);

/** Gradient of one token's loss by its log-probability, at a ratio. */
const slopeAt = async (loss: PolicyLoss, ratio: number, advantage: number) => {
  const one = { lengths: [1], logProbs: [-1], oldLogProbs: [-1 - Math.log(ratio)], advantages: [advantage] };
  const { value, grad } = await evaluate(one, { ...plain, loss }, { sequences: 1, tokens: 1 });
  return { value, slope: grad[0]! };
};

const shifted = (values: number[], by: (i: number) => number) => values.map((v, i) => v + by(i));
const close = (actual: readonly number[], expected: readonly number[]) =>
  actual.forEach((v, i) => {
    expect(v).toBeCloseTo(expected[i]!, 12);
  });

/** The batch's sequences in another order. */
function reordered(b: Batch, order: readonly number[]): Batch {
  const starts = b.lengths.map((_, i) => b.lengths.slice(0, i).reduce((x, n) => x + n, 0));
  const pick = (values: number[]) =>
    order.flatMap((i) => values.slice(starts[i], starts[i]! + b.lengths[i]!));
  return {
    lengths: order.map((i) => b.lengths[i]!),
    logProbs: pick(b.logProbs),
    advantages: pick(b.advantages),
    ...(b.oldLogProbs && { oldLogProbs: pick(b.oldLogProbs) }),
  };
}
const offPolicy: Batch = { ...batch, oldLogProbs: shifted(batch.logProbs, (i) => Math.sin(5 * i) / 2) };

describe('in the first update after a rollout,', () => {
  test('ratios are 1, nothing is clipped, and the KL to an equal reference is 0', () => {
    const { lengths, logProbs, advantages } = batch;
    const record = { lengths, logProbs, advantages, oldLogProbs: logProbs, refLogProbs: logProbs };
    expect(stepMetrics(record, clip)).toMatchObject({
      approx_kl: 0,
      kl: 0,
      'ratio/min': 1,
      'ratio/max': 1,
      'clip_ratio/region_mean': 0,
    });
  });

  test('the loss is -mean(A) over sequences, -sum(n A) / sum(n) over tokens, and the gradient that of -A l', async () => {
    const samples = [1.5, -0.5, -1, 0.25];
    const perSequence = await evaluate(batch, { ...plain, aggregation: 'grpo' });
    expect(perSequence.value).toBeCloseTo(-samples.reduce((a, b) => a + b) / 4, 12);
    const perToken = await evaluate(batch, plain);
    expect(perToken.value).toBeCloseTo(-batch.advantages.reduce((a, b) => a + b) / 10, 12);
    close(
      perToken.grad,
      batch.advantages.map((a) => -a / 10),
    );
    close(perToken.grad, (await evaluate(batch, { ...plain, loss: { name: 'reinforce' } })).grad);
  });
});

describe('advantages', () => {
  const grpo: AdvantageConfig = { name: 'grpo', scale: 'group', epsilon: 1e-4 };

  test('have mean 0 in each group', () => {
    const a = sampleAdvantages([1, 0, 0.5, 0, 3, 7], grpo, { groupSize: 3 });
    expect(a[0]! + a[1]! + a[2]!).toBeCloseTo(0, 12);
    expect(a[3]! + a[4]! + a[5]!).toBeCloseTo(0, 12);
  });

  test.each<AdvantageConfig>([
    grpo,
    { name: 'grpo', scale: 'batch', epsilon: 1e-4 },
    { name: 'grpo', scale: 'none', epsilon: 1e-4 },
    { name: 'rloo', normalize: false, epsilon: 1e-4 },
    { name: 'rloo', normalize: true, epsilon: 1e-4 },
    { name: 'reinforce++-baseline' },
    { name: 'maxrl' },
  ])('of equal rewards are exactly 0, also where no reward could judge: %o', (config) => {
    for (const rewards of [
      [0.1, 0.1, 0.1],
      [0.3, 0.1 + 0.2, 0.3],
      [0, 0, 0],
      [null, 2, null],
      [null, null, null],
    ])
      expect(sampleAdvantages(rewards, config, { groupSize: 3, lengths: [2, 3, 1] })).toEqual(
        new Float64Array(3),
      );
  });

  test('of a single sample are refused, unless the baseline is not its group', () => {
    expect(() => sampleAdvantages([1], grpo, { groupSize: 1 })).toThrow(
      /expected groups of 2 or more for grpo.*got 1/,
    );
    expect(
      Array.from(sampleAdvantages([1, 0], { name: 'remax' }, { groupSize: 1, greedyRewards: [0.5, 1] })),
    ).toEqual([0.5, -1]);
  });

  test('of RLOO are those of unscaled GRPO times G / (G - 1)', () => {
    const rewards = [1, 0, 0.25, 3, 2, 2, 0, -1];
    const rloo = sampleAdvantages(rewards, { name: 'rloo', normalize: false, epsilon: 0 }, { groupSize: 4 });
    const unscaled = sampleAdvantages(rewards, { name: 'grpo', scale: 'none', epsilon: 0 }, { groupSize: 4 });
    close(
      Array.from(rloo),
      Array.from(unscaled, (a) => (a * 4) / 3),
    );
  });
});

describe('aggregation', () => {
  test.each(['grpo', 'dapo', 'dr_grpo', 'seq-mean-token-sum'] as const)(
    'by %s does not depend on the order of samples nor on micro-batches',
    async (aggregation) => {
      const objective = { ...plain, aggregation };
      const whole = await evaluate(offPolicy, objective);
      const order = [2, 0, 3, 1];
      const other = await evaluate(reordered(offPolicy, order), objective);
      const expected = reordered({ ...offPolicy, logProbs: whole.grad }, order).logProbs;
      expect(other.value).toBeCloseTo(whole.value, 12);
      close(other.grad, expected);
      for (const parts of [
        [
          [0, 1],
          [2, 3],
        ],
        [[0], [1], [2], [3]],
      ]) {
        const each = await Promise.all(parts.map((part) => evaluate(reordered(offPolicy, part), objective)));
        expect(each.reduce((total, { value }) => total + value, 0)).toBeCloseTo(whole.value, 12);
        close(
          each.flatMap(({ grad }) => grad),
          whole.grad,
        );
      }
    },
  );

  test('by bnpo depends on micro-batches', async () => {
    const objective: PolicyObjective = { ...plain, aggregation: 'bnpo' };
    const whole = await evaluate(offPolicy, objective);
    const halves = await Promise.all(
      [
        [0, 1],
        [2, 3],
      ].map((part) => evaluate(reordered(offPolicy, part), objective, { ...totals, microBatches: 2 })),
    );
    expect(Math.abs(halves[0]!.grad[0]! - whole.grad[0]!)).toBeGreaterThan(1e-3);
  });

  test('counts a completion without tokens as a sequence', async () => {
    const empty = { lengths: [2, 0], logProbs: [-1, -2], advantages: [1, 1] };
    const { value, grad } = await evaluate(
      empty,
      { ...plain, aggregation: 'grpo' },
      { sequences: 2, tokens: 2 },
    );
    expect(value).toBeCloseTo(-0.5, 12);
    close(grad, [-0.25, -0.25]);
  });

  test('by dr_grpo is the sum over B x L_max exactly', async () => {
    const summed = batch.advantages.reduce((a, b) => a - b, 0);
    const { value } = await evaluate(batch, { ...plain, aggregation: 'dr_grpo' });
    expect(value).toBe(summed / (4 * 6));
  });
});

describe('clipping', () => {
  test('stops the gradient above for A > 0 and below for A < 0, and keeps it in the other two corners', async () => {
    expect((await slopeAt(clip, 1.3, 1)).slope).toBe(0);
    expect((await slopeAt(clip, 0.7, -1)).slope).toBe(0);
    expect((await slopeAt(clip, 0.7, 1)).slope).toBeCloseTo(-0.7, 12);
    expect((await slopeAt(clip, 1.3, -1)).slope).toBeCloseTo(1.3, 12);
  });

  test('by delta and by the dual clip acts only for A < 0 and a ratio beyond it', async () => {
    for (const loss of [
      { ...clip, delta: 4 },
      { ...clip, dualClip: 4 },
    ] as const) {
      for (const [ratio, advantage] of [
        [3.9, -1],
        [5, 1],
        [3.9, 1],
        [0.5, -1],
      ] as const)
        expect(await slopeAt(loss, ratio, advantage)).toEqual(await slopeAt(clip, ratio, advantage));
      const beyond = await slopeAt(loss, 5, -2);
      expect(beyond.slope).toBe(0);
      expect(beyond.value).toBeCloseTo(8, 12);
    }
  });
});

describe('estimates of the KL', () => {
  const p = [0.5, 0.2, 0.25, 0.05].map(Math.log);
  const q = [0.3, 0.4, 0.1, 0.2].map(Math.log);
  const exact = p.reduce((total, l, i) => total + Math.exp(l) * (l - q[i]!), 0);
  const expectation = (k: 'k1' | 'k2' | 'k3', a: number[], b: number[]) =>
    a.reduce((total, l, i) => total + Math.exp(l) * klValue(l, b[i]!, k), 0);

  test('k1 and k3 have the exact KL of a small categorical as their mean, and k2 nearly for near policies', () => {
    expect(expectation('k1', p, q)).toBeCloseTo(exact, 12);
    expect(expectation('k3', p, q)).toBeCloseTo(exact, 12);
    const near = p.map((l, i) => l + 0.02 * (i - 1));
    const norm = Math.log(near.reduce((total, l) => total + Math.exp(l), 0));
    const b = near.map((l) => l - norm);
    expect(expectation('k2', p, b) / expectation('k1', p, b)).toBeCloseTo(1, 2);
  });

  test('k3 is never negative, and 0 only for equal log-probabilities', () => {
    expect(klValue(-1, -1, 'k3')).toBe(0);
    for (let x = -30; x <= 30; x += 0.37)
      if (Math.abs(x) > 1e-6) expect(klValue(-1, -1 + x, 'k3')).toBeGreaterThan(0);
  });
});

describe('ratios of sequences', () => {
  const sequence: PolicyLoss = { name: 'clip', ratio: 'sequence', epsilonLow: 0.2, epsilonHigh: 0.28 };

  test('give GRPO on sequences of one token', async () => {
    const single = { ...offPolicy, lengths: new Array<number>(10).fill(1) };
    const t = { sequences: 10, tokens: 10 };
    expect(await evaluate(single, { ...plain, loss: sequence }, t)).toEqual(await evaluate(single, plain, t));
  });

  test('have the gradient of GSPO-token when a sequence has one advantage', async () => {
    const objective: PolicyObjective = { ...plain, aggregation: 'grpo', loss: sequence };
    const gspo = await evaluate(offPolicy, objective);
    const token = await evaluate(offPolicy, { ...objective, loss: { ...sequence, ratio: 'sequence-token' } });
    expect(token.value).toBeCloseTo(gspo.value, 12);
    close(token.grad, gspo.grad);
  });
});

test('CISPO up to its bound has the gradient of -rho A l with rho detached, and beyond it keeps a gradient', async () => {
  const cispo: PolicyLoss = { name: 'cispo', ratio: 'token', ratioMax: 5 };
  expect((await slopeAt(cispo, 3, 2)).slope).toBeCloseTo(-6, 12);
  expect((await slopeAt(cispo, 0.1, -2)).slope).toBeCloseTo(0.2, 12);
  expect((await slopeAt(cispo, 9, 2)).slope).toBeCloseTo(-10, 12);
});

test.each([32, 64] as const)(
  'truncation leaves the same bytes when sampler and trainer agree, in f%d',
  async (bits) => {
    const agreed = { ...offPolicy, samplingLogProbs: offPolicy.oldLogProbs! };
    for (const mode of ['truncate', 'mask'] as const)
      for (const level of ['token', 'sequence', 'sequence-mean'] as const) {
        const correction = { mode, level, high: 2 };
        expect(await evaluate(agreed, { ...plain, correction }, totals, bits)).toEqual(
          await evaluate(offPolicy, plain, totals, bits),
        );
      }
  },
);

test('the off-policy mask drops sequences that are far from the sampler only where the advantage is negative', async () => {
  const far = [-2, -2, -2, -0.125, -9, -9, -9, -9, -1, -0.375];
  const away = { ...batch, samplingLogProbs: shifted(far, (i) => (i < 3 ? 3 : 9)) };
  const { grad } = await evaluate(away, { ...plain, offPolicyThreshold: 0.5 });
  const kept = [true, true, true, false, false, false, false, false, true, true];
  close(
    grad,
    batch.advantages.map((a, i) => (kept[i] ? -a / 10 : 0)),
  );
  const near = { ...batch, samplingLogProbs: batch.logProbs };
  const unmasked = await evaluate({ ...near, oldLogProbs: batch.logProbs }, plain);
  expect(await evaluate(near, { ...plain, offPolicyThreshold: 0.5 })).toEqual(unmasked);
});

describe('preference losses', () => {
  const value = (f: (arena: Arena) => Tensor) =>
    run(async (_, arena) => (await f(arena).read())[0] as number);
  const two = (arena: Arena, a: number, b: number) => arena.tensor([a, b], [2]);

  test('of DPO at the reference and of equal scores are log 2', async () => {
    for (const labelSmoothing of [0, 0.2]) {
      const dpo = await value((arena) => {
        const [chosen, rejected] = [two(arena, -3, -7), two(arena, -4, -1)];
        return dpoLoss(
          { chosen, rejected, refChosen: chosen, refRejected: rejected },
          { name: 'sigmoid', beta: 0.1, labelSmoothing },
          { pairs: 2 },
        );
      });
      expect(dpo).toBeCloseTo(Math.LN2, 12);
    }
    const ranking = await value((arena) =>
      bradleyTerryLoss(two(arena, 1, -2), two(arena, 1, -2), { pairs: 2 }),
    );
    expect(ranking).toBeCloseTo(Math.LN2, 12);
  });

  test('with labels smoothed by s and exchanged are those smoothed by 1 - s', async () => {
    const smoothed = (swap: boolean, labelSmoothing: number) =>
      value((arena) => {
        const [a, b, zero] = [two(arena, -3, -7), two(arena, -4, -1), two(arena, 0, 0)];
        const [chosen, rejected] = swap ? [b, a] : [a, b];
        const config = { name: 'sigmoid', beta: 0.3, labelSmoothing } as const;
        return dpoLoss({ chosen, rejected, refChosen: zero, refRejected: zero }, config, { pairs: 2 });
      });
    expect(await smoothed(true, 0.1)).toBeCloseTo(await smoothed(false, 0.9), 12);
  });
});

describe('through the logits,', () => {
  test('supervised tokens packed give the gradient of the sequences apart, and prompt rows get none', async () => {
    const logits = Float64Array.from({ length: 6 * 5 }, (_, i) => Math.sin(3 * i));
    const gradient = (rows: number[], targets: number[]) =>
      run(async (owner, arena) => {
        const table = owner.parameter(logits, [6, 5]);
        const picked = gatherRows(arena.adopt(table), arena.tensor(rows, [rows.length], 'i32'));
        sum(crossEntropy(picked, arena.tensor(targets, [rows.length], 'i32'))).backward();
        return Array.from(await table.grad!.read());
      });
    const packed = await gradient([1, 2, 5], [0, 3, 4]);
    const [first, second] = [await gradient([1, 2], [0, 3]), await gradient([5], [4])];
    close(
      packed,
      first.map((v, i) => v + second[i]!),
    );
    for (const row of [0, 3, 4]) expect(packed.slice(row * 5, row * 5 + 5)).toEqual([0, 0, 0, 0, 0]);
  });

  test('a temperature divides the logits, and a greedy one is refused', async () => {
    await run(async (_, arena) => {
      const logits = [0.5, -1, 2, 0.25];
      const [l] = await tokenLogProbs(
        arena.tensor(logits, [1, 4]),
        arena.tensor([2], [1], 'i32'),
        0.5,
      ).read();
      const z = logits.map((x) => Math.exp(x / 0.5));
      expect(l).toBeCloseTo(Math.log(z[2]! / z.reduce((a, b) => a + b)), 12);
      expect(() => tokenLogProbs(arena.tensor(logits, [1, 4]), arena.tensor([2], [1], 'i32'), 0)).toThrow(
        /expected a temperature above 0, got 0/,
      );
    });
  });

  test('impossible tokens leave the entropy finite, and equal ones give log V', async () => {
    await run(async (_, arena) => {
      const logits = arena.tensor([0, 0, Number.NEGATIVE_INFINITY, 0, 0, 0, 0, 0], [2, 4]);
      const [some, all] = await tokenEntropies(logits).read();
      expect(some).toBeCloseTo(Math.log(3), 12);
      expect(all).toBeCloseTo(Math.log(4), 12);
    });
  });
});

describe('finite differences confirm', () => {
  const lengths = [3, 2];
  const old = [-0.3, -1.1, -0.9, -2, -0.6];
  const signs = [1.5, 1.5, 1.5, -0.75, -0.75];
  const losses: PolicyLoss[] = [
    clip,
    { ...clip, delta: 1.9, dualClip: 3 },
    { ...clip, ratio: 'sequence' },
    { ...clip, ratio: 'sequence-product' },
    { name: 'gmpo', epsilonLow: 0.4, epsilonHigh: 0.4 },
    { name: 'sapo', ratio: 'token', temperaturePositive: 1, temperatureNegative: 1.05 },
    { name: 'reinforce' },
  ];
  test.each(losses)('the gradient of %o', async (loss) => {
    const report = await gradcheck(
      (logProbs) =>
        tokenPolicyLoss(loss, {
          segments: packSegments(logProbs.arena, lengths),
          logProbs,
          oldLogProbs: logProbs.arena.tensor(old, [5]),
          advantages: logProbs.arena.tensor(signs, [5]),
        }),
      [{ shape: [5], data: [-0.45, -0.95, -1.05, -1.9, -0.75] }],
    );
    expect(report).toMatchObject({ ok: true });
  });

  test('the gradients of sums over sequences, and of divergences', async () => {
    const sums = await gradcheck(
      (x) => {
        const segments = packSegments(x.arena, [2, 0, 3]);
        return spread(segmentSum(x, segments), segments);
      },
      [{ shape: [5] }],
    );
    expect(sums).toMatchObject({ ok: true });
    for (const beta of [0, 0.3, 1]) {
      const teacher = Array.from({ length: 8 }, (_, i) => Math.cos(2 * i));
      const report = await gradcheck(
        (x) => distillationLoss(x, x.arena.tensor(teacher, [2, 4]), { beta, temperature: 0.8 }),
        [{ shape: [2, 4] }],
      );
      expect(report).toMatchObject({ ok: true });
    }
  });
});
