import { presets } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import {
  cacheBytesPerToken,
  decodeFlopsPerToken,
  forwardFlopsPerToken,
  trainingFlopsPerToken,
} from './compute.ts';
import { countParameters } from './parameters.ts';
import {
  achievedFlops,
  deepseekR1Training,
  deepseekV3Tokens,
  deepseekV3Training,
  gpuHours,
  trainingCost,
} from './training-cost.ts';

const v3 = presets['DeepSeek-V3'];

describe('FLOPs of a token', () => {
  it('in training at 4,096 are the published 250 GFLOP for V3 and 155 for V2', () => {
    const exact = trainingFlopsPerToken(v3, 4096);
    expect((exact / 1e9).toFixed(1)).toBe('250.5');
    // With the active parameters rounded to 36.6 billion, as they are usually quoted, it is 250.3.
    const active = countParameters(v3).activeWithoutEmbedding;
    expect(((exact - 6 * (active - 36.6e9)) / 1e9).toFixed(1)).toBe('250.3');
    expect(Math.round(trainingFlopsPerToken(presets['DeepSeek-V2'], 4096) / 1e9)).toBe(155);
  });

  it('in a forward pass are a third of those in training', () => {
    expect(forwardFlopsPerToken(v3, 2048) * 3).toBe(trainingFlopsPerToken(v3, 4096));
  });

  it('in absorbed decoding grow by 2 x 128 heads x 1,088 x 61 layers a key', () => {
    const perKey = decodeFlopsPerToken(v3, 1001) - decodeFlopsPerToken(v3, 1000);
    expect(perKey).toBe(2 * 61 * 128 * 1088);
    expect(decodeFlopsPerToken(v3, 0)).toBe(2 * countParameters(v3).activeWithoutEmbedding);
  });
});

it('counts the published cache bytes of a token', () => {
  const bytes = Object.values(presets).map((config) => cacheBytesPerToken(config));
  expect(bytes).toEqual([31_104, 69_120, 70_272, 70_272, 31_104, 70_272, 89_856, 54_144]);
});

describe('training cost', () => {
  it('of DeepSeek-V3 is 2.788 million GPU hours and 5.576 million dollars', () => {
    expect(trainingCost(deepseekV3Training)).toEqual({ gpuHours: 2_788_000, price: 5_576_000 });
  });

  it('of DeepSeek-R1 on top is 147 thousand GPU hours and 294 thousand dollars', () => {
    expect(trainingCost(deepseekR1Training)).toEqual({ gpuHours: 147_000, price: 294_000 });
  });

  it('planned from FLOPs is within 1 % of the hours pre-training took', () => {
    const flopsPerToken = trainingFlopsPerToken(v3, 4096);
    const planned = gpuHours({ tokens: deepseekV3Tokens, flopsPerToken, achievedFlops: 385e12 });
    expect(Math.abs(planned / 2_664_000 - 1)).toBeLessThan(0.01);
    const achieved = achievedFlops({ tokens: deepseekV3Tokens, flopsPerToken, gpuHours: 2_664_000 });
    expect(achieved / 1e12).toBeGreaterThan(385);
    expect(achieved / 1e12).toBeLessThan(387);
  });
});
