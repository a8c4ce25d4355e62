import { describe, expect, it } from 'vitest';
import {
  composeRewards,
  kimiLengthReward,
  perCompletion,
  type RewardInput,
  rewardMetrics,
  type Score,
} from './index.ts';

const group: RewardInput[] = [1, 2, 3].map((length) => ({ prompt: 'p', completion: 'c', length }));
const fixed =
  (...scores: Score[]) =>
  () =>
    scores;

describe('composeRewards', () => {
  it('adds weighted terms and keeps each column unweighted', async () => {
    const score = composeRewards([
      { name: 'accuracy', reward: fixed(1, 0, 1) },
      { name: 'format', reward: fixed(1, 1, 0), weight: 0.5 },
      { name: 'watched', reward: fixed(null, 7, 7), weight: 0 },
    ]);
    expect(await score(group)).toEqual({
      totals: [1.5, 0.5, 1],
      columns: { accuracy: [1, 0, 1], format: [1, 1, 0], watched: [null, 7, 7] },
    });
  });

  it('keeps null apart from zero: a null drops the completion or is skipped, as the term says', async () => {
    const score = composeRewards([
      { name: 'accuracy', reward: fixed(null, 0, 1) },
      { name: 'helpful', reward: fixed(3, null, null), ifNull: 'skip' },
    ]);
    expect((await score(group)).totals).toEqual([null, 0, 1]);
    const skipped = composeRewards([{ name: 'helpful', reward: fixed(null, 0, 2), ifNull: 'skip' }]);
    expect((await skipped(group)).totals).toEqual([null, 0, 2]);
  });

  it('shows earlier columns to later terms', async () => {
    const score = composeRewards([
      { name: 'right', reward: fixed(1, null, 1) },
      { name: 'length', reward: kimiLengthReward({ accuracy: 'right' }), weight: 2 },
    ]);
    expect(await score(group)).toMatchObject({
      totals: [2, null, 0],
      columns: { length: [0.5, null, -0.5] },
    });
  });

  it('lists all problems of its terms together', () => {
    expect(() => composeRewards([])).toThrow(/at least one term/);
    expect(() =>
      composeRewards([
        { name: 'a b', reward: fixed() },
        { name: 'x', reward: fixed(), weight: Number.NaN },
        { name: 'x', reward: 3 as never },
      ]),
    ).toThrow(/got "a b".*finite weight, got NaN.*'x' again.*function, got number/);
  });

  it('names the term whose reward fails, and refuses scores that are no scores', async () => {
    const run = (reward: () => unknown) => composeRewards([{ name: 'mine', reward: reward as never }])(group);
    await expect(run(() => [1, 2])).rejects.toThrow(/reward 'mine': expected 3 scores, got 2/);
    await expect(run(() => [1, Number.NaN, 2])).rejects.toThrow(/completion 1, got NaN/);
    await expect(run(() => [1, undefined, 2])).rejects.toThrow(/completion 1, got undefined/);
    await expect(run(() => 5)).rejects.toThrow(/expected 3 scores, got number/);
    await expect(
      run(() => {
        throw new TypeError('boom');
      }),
    ).rejects.toMatchObject({ code: 'internal', message: expect.stringMatching(/'mine'.*boom/) });
    await expect(
      composeRewards([{ name: 'length', reward: kimiLengthReward() }])(group),
    ).rejects.toMatchObject({ code: 'invalid-config', message: expect.stringMatching(/reward 'length'/) });
  });

  it('logs mean, std and null rate for each term', async () => {
    const reward = perCompletion(({ length }) => (length === 3 ? null : length));
    const terms = [{ name: 'accuracy', reward, metric: 'language/consistency' }];
    const score = composeRewards(terms);
    const metrics = rewardMetrics([await score(group), await score(group)], terms);
    expect(metrics['rewards/accuracy/mean']).toBe(1.5);
    expect(metrics['rewards/accuracy/std']).toBeCloseTo(Math.sqrt(1 / 3), 12);
    expect(metrics['language/consistency']).toBe(1.5);
    expect(metrics.reward_std).toBeCloseTo(Math.sqrt(1 / 3), 12);
    expect(metrics.frac_reward_zero_std).toBe(0);
    expect(metrics['rewards/accuracy/null_rate']).toBeCloseTo(1 / 3);
    const none = composeRewards([{ name: 'x', reward: fixed(null, null, null) }]);
    expect(rewardMetrics([await none(group)])).toEqual({
      reward: null,
      reward_std: null,
      frac_reward_zero_std: 1,
      'rewards/x/mean': null,
      'rewards/x/std': null,
      'rewards/x/null_rate': 1,
    });
  });
});
