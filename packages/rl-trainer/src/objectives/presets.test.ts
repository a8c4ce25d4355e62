import { describe, expect, test } from 'vitest';
import {
  presets,
  type RlConfig,
  sampleAdvantages,
  stepAdvantages,
  tokenRewards,
  validateRl,
} from './index.ts';

describe('presets', () => {
  test.each(Object.entries(presets))('%s is valid plain data', (_, preset) => {
    expect(validateRl(preset)).toBe(preset);
    expect(JSON.parse(JSON.stringify(preset))).toEqual(preset);
  });
});

describe('validateRl', () => {
  test('names every problem at once', () => {
    const wrong: RlConfig = {
      ...presets.dapo,
      groupSize: 1,
      temperature: 0,
      overlongTokens: 30_000,
      critic: { learningRate: 0, epsilon: -1, warmupSteps: 0.5 },
      objective: {
        ...presets.dapo.objective,
        loss: {
          name: 'clip',
          ratio: 'token',
          epsilonLow: -0.1,
          epsilonHigh: 0.28,
          delta: 1.2,
          dualClip: 0.5,
        },
        correction: { mode: 'truncate', level: 'token', low: 3, high: 2 },
      },
    };
    expect(() => validateRl(wrong)).toThrow(
      /temperature above 0.*overlongTokens below.*epsilonLow of at least 0.*delta above 1\.28.*dualClip above 1.*correction\.high above 3.*groupSize of 2 or more for grpo.*a critic with gae.*critic\.learningRate above 0.*critic\.epsilon of at least 0.*critic\.warmupSteps a whole number/,
    );
  });

  test('refuses a group of one unless the estimator has another baseline', () => {
    expect(() => validateRl({ ...presets.rloo, groupSize: 1 })).toThrow(/groupSize of 2 or more for rloo/);
    expect(() => validateRl({ ...presets.ppo, groupSize: 1 })).not.toThrow();
  });
});

describe('stepAdvantages', () => {
  const table = { names: ['accuracy'], rewards: [[1, 0, 0, 1]], groupSize: 2 };
  const lengths = [2, 1, 1, 3];
  const logProbs = [-1, -0.5, -2, -0.25, -1, -1, -0.5];
  const refLogProbs = [-1.5, -0.5, -1, -0.25, -1.25, -1, -1];

  test('repeats the advantage of a sample for its tokens', () => {
    const a = sampleAdvantages(
      [1, 0, 0, 1],
      { name: 'grpo', scale: 'group', epsilon: 1e-4 },
      { groupSize: 2 },
    );
    const { advantages } = stepAdvantages({ table, lengths }, presets['r1-zero']);
    expect(Array.from(advantages)).toEqual([a[0], a[0], a[1], a[2], a[3], a[3], a[3]]);
  });

  test('has the KL of the whole sample in the reward for RLOO', () => {
    const { advantages } = stepAdvantages({ table, lengths, logProbs, refLogProbs }, presets.rloo);
    const [first, second] = [1 - 0.05 * 0.5, 0 - 0.05 * -1];
    expect(advantages[0]).toBeCloseTo(first - second, 12);
    expect(advantages[2]).toBeCloseTo(second - first, 12);
  });

  test('needs values for PPO, whose returns without discount are sums of what follows', () => {
    const rollout = { table, lengths, logProbs, refLogProbs };
    expect(() => stepAdvantages(rollout, presets.ppo)).toThrow(/expected the critic's values for gae/);
    const { returns } = stepAdvantages({ ...rollout, values: new Float64Array(7).fill(0.3) }, presets.ppo);
    const rewards = tokenRewards([1, 0, 0, 1], lengths, { beta: 0.001, logProbs, refLogProbs });
    expect(returns?.[0]).toBeCloseTo(rewards[0]! + rewards[1]!, 12);
    expect(returns?.[4]).toBeCloseTo(rewards[4]! + rewards[5]! + rewards[6]!, 12);
  });
});
