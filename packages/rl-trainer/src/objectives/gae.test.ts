// What must hold of generalised advantage estimation and of the critic's loss whatever the numbers.
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { describe, expect, test } from 'vitest';
import { whitened } from './advantages.ts';
import {
  gae,
  reinforcePlusPlus,
  tokenRewards,
  tokenValueLoss,
  valueLossMetrics,
  valueMetrics,
} from './index.ts';

const lengths = [3, 1, 4];
const kl = {
  beta: 0.1,
  logProbs: [-1, -0.5, -2, -0.25, -1, -1, -0.5, -3],
  refLogProbs: [-1.5, -0.5, -1, -0.25, -1.25, -1, -1, -2],
};
const rewards = tokenRewards([1, 0, -0.5], lengths, kl);
const values = [0.5, 0.25, -1, 0.75, 0, -0.5, 1.5, 0.125];
const close = (actual: ArrayLike<number>, expected: ArrayLike<number>) => {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < actual.length; i++) expect(actual[i]).toBeCloseTo(expected[i] as number, 12);
};

/** What follows each token of its sequence, itself included. */
function following(perToken: ArrayLike<number>): number[] {
  let start = 0;
  return lengths.flatMap((n) => {
    const part = Array.from(perToken).slice(start, (start += n));
    return part.map((_, t) => part.slice(t).reduce((a, b) => a + b, 0));
  });
}

describe('advantages by GAE', () => {
  const whole = { gamma: 1, lambda: 1 };

  test('are return minus value where neither discounts, and returns are what follows', () => {
    const { advantages, returns } = gae(rewards, values, lengths, whole);
    close(returns, following(rewards));
    close(advantages, whitened(Float64Array.from(following(rewards), (r, t) => r - (values[t] as number))));
  });

  test('are those of REINFORCE with a critic of zeros', () => {
    const { advantages } = gae(rewards, new Float64Array(8), lengths, whole);
    close(advantages, reinforcePlusPlus(rewards, lengths, { gamma: 1 }));
  });

  test('of one step are the errors of the critic from token to token', () => {
    const { returns } = gae(rewards, values, lengths, { gamma: 0.9, lambda: 0 });
    const next = [0.25, -1, 0, 0, -0.5, 1.5, 0.125, 0];
    close(
      returns,
      next.map((v, t) => (rewards[t] as number) + 0.9 * v),
    );
  });

  test('are exactly 0 with a critic that knows every return, whatever lambda', () => {
    const known = [0.25, 0.5, 0.5, 2, 1, 1, 0.75, 0.5];
    const exact = Float64Array.from([-0.25, 0, 0.5, 2, 0, 0.25, 0.25, 0.5]);
    for (const lambda of [0, 0.5, 1]) {
      const { advantages, returns } = gae(exact, known, lengths, { gamma: 1, lambda });
      expect(advantages).toEqual(new Float64Array(8));
      close(returns, known);
    }
  });

  test('do not change with a constant in the values, without discount', () => {
    const shifted = values.map((v) => v + 3);
    close(gae(rewards, shifted, lengths, whole).advantages, gae(rewards, values, lengths, whole).advantages);
  });

  test('of a sequence do not depend on its place, and have mean 0 and deviation 1 over the batch', () => {
    const options = { gamma: 0.99, lambda: 0.9 };
    const { advantages } = gae(rewards, values, lengths, options);
    const moved = <T>(x: ArrayLike<T>) => [...Array.from(x).slice(4), ...Array.from(x).slice(0, 4)];
    const other = gae(Float64Array.from(moved(rewards)), moved(values), [4, 3, 1], options);
    close(other.advantages, moved(advantages));
    expect(advantages.reduce((a, b) => a + b)).toBeCloseTo(0, 12);
    expect(advantages.reduce((a, b) => a + b * b, 0) / 7).toBeCloseTo(1, 6);
  });

  test('of a sample without reward are 0, and its values change nothing for the others', () => {
    const options = { gamma: 1, lambda: 0.95, scored: [true, false, true] };
    const wild = values.map((v, t) => (t === 3 ? 1e6 : v));
    const [a, b] = [values, wild].map((v) => gae(rewards, v, lengths, options).advantages) as [
      Float64Array,
      Float64Array,
    ];
    expect(a).toEqual(b);
    expect(a[3]).toBe(0);
  });
});

describe('the loss of the critic', () => {
  /** Loss and slope of one token at V, for V_old 0 and R 1. */
  const at = async (value: number, epsilon: number, target = 1) => {
    const backend = createReference({ bits: 64 });
    using owner = new Arena(backend, { persistent: true });
    using arena = new Arena(backend, { grad: true });
    const v = owner.parameter([value], [1]);
    const one = (x: number) => arena.tensor([x], [1]);
    const loss = tokenValueLoss(arena.adopt(v), one(0), one(target), { epsilon });
    loss.backward();
    return { loss: (await loss.read())[0] as number, slope: (await v.grad?.read())?.[0] as number };
  };

  test('is half the squared error at the value of the rollout and without bounds', async () => {
    expect(await at(0, 0.2)).toEqual({ loss: 0.5, slope: -1 });
    expect(await at(0.75, Number.POSITIVE_INFINITY)).toEqual({ loss: 0.03125, slope: -0.25 });
  });

  test('has no gradient beyond the bound on the way to the return, and keeps it on the way back', async () => {
    expect(await at(0.5, 0.25)).toEqual({ loss: 0.28125, slope: 0 });
    expect(await at(-0.5, 0.25)).toEqual({ loss: 1.125, slope: -1.5 });
    expect(await at(2.5, 0.25)).toEqual({ loss: 1.125, slope: 1.5 }); // overshot: farther than the bound is
  });

  test('is counted as clipped where the bound is the farther one', () => {
    const record = { values: [0, 0, 0, 0], returns: [1, 1, 1, 1] };
    const predicted = [0, 0.5, -0.5, 2.5];
    expect(valueLossMetrics(predicted, record, 0.25)).toEqual({
      'critic/vpred_mean': 0.625,
      'critic/vf_clipfrac': 0.25,
    });
    expect(valueLossMetrics(predicted, record, null)['critic/vf_clipfrac']).toBe(0);
  });
});

test('explained variance is 1 for a critic that knows all, 0 for the mean, below 0 for a worse one', () => {
  const returns = [0, 1, 0, 1, 2];
  const of = (v: number[]) => valueMetrics({ values: v, returns, advantages: v })['critic/vf_explained_var'];
  expect(of(returns)).toBe(1);
  expect(of([0.8, 0.8, 0.8, 0.8, 0.8])).toBeCloseTo(0, 4);
  expect(of([2, 1, 2, 1, 0])).toBeLessThan(-1);
});
