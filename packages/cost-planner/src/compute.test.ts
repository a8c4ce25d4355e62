import { type DeepSeekConfig, type ModelConfig, presets } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import {
  cacheBytesPerToken,
  decodeFlopsPerToken,
  forwardFlopsPerToken,
  promptFlops,
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

describe('FLOPs of a prompt', () => {
  const head = 2 * v3.vocabSize * v3.hiddenSize;

  it('in one piece are those of its tokens, the vocabulary for the last one', () => {
    const { products, attention } = promptFlops(v3, { tokens: 100, chunk: 100 });
    const each = Array.from({ length: 100 }, (_, i) => forwardFlopsPerToken(v3, i + 1) - head);
    expect(products + attention).toBe(each.reduce((a, b) => a + b, head));
  });

  it('in more pieces have latents expanded again, in attention', () => {
    const [one, two] = [100, 60].map((chunk) => promptFlops(v3, { tokens: 100, chunk }));
    expect(two!.products).toBe(one!.products);
    expect(two!.attention - one!.attention).toBe(60 * 2 * 61 * 128 * 512 * (128 + 128));
  });

  it.each([
    [100, 0],
    [-1, 10],
    [100, 0.5],
    [100, Number.NaN],
  ])('of %d tokens in pieces of %d are refused', (tokens, chunk) => {
    expect(() => promptFlops(v3, { tokens, chunk })).toThrow(/expected whole tokens >= 0 and chunk >= 1/);
  });

  it('of a dense model have nothing to expand', () => {
    const dense: ModelConfig = {
      ...{ modelType: 'llama', vocabSize: 128, hiddenSize: 24, intermediateSize: 40, numLayers: 2 },
      ...{ numHeads: 6, numKeyValueHeads: 2, headDim: 20, qkvBias: false, normEps: 1e-6, ropeTheta: 10_000 },
      ...{ llama3: null, yarn: null, maxPositions: 160, initStd: 0.1, tieEmbeddings: false },
      ...{ bosTokenId: 0, eosTokenIds: [1], padTokenId: 2, moe: null, mtpLayers: 0 },
    };
    const [one, two] = [100, 10].map((chunk) => promptFlops(dense, { tokens: 100, chunk }));
    expect(two).toEqual(one);
  });
});

describe('FLOPs of a token where not every layer sees everything', () => {
  const config = { ...presets['Moonlight-16B-A3B'], numLayers: 4 };
  const { numHeads: H, hiddenSize: D } = config;
  const width = 128 + 64 + 128;
  const key = 6 * H * width;
  const activeOf = (of: DeepSeekConfig) => countParameters(of).activeWithoutEmbedding;

  it('count the keys of windows, each query of a causal sequence by itself', () => {
    const layerPlan = { layerTypes: ['local', 'hybrid', 'local', 'global'], window: 32 } as const;
    const whole = trainingFlopsPerToken(config, 256);
    // Keys before each query, half a key for its own place, as in S / 2.
    const seen = Array.from({ length: 256 }, (_, t) => Math.min(t + 0.5, 32));
    const mean = seen.reduce((a, b) => a + b, 0) / 256;
    const farBias = activeOf({ ...config, layerPlan }) - activeOf(config); // of the hybrid layer
    const saved = whole + 6 * farBias - trainingFlopsPerToken({ ...config, layerPlan }, 256);
    expect(saved / key).toBeCloseTo(2 * (128 - mean), 6);
    const wide = { ...config, layerPlan: { ...layerPlan, window: 256 } };
    expect(trainingFlopsPerToken(wide, 256)).toBe(whole + 6 * farBias);
    const planned = { ...config, layerPlan };
    expect(forwardFlopsPerToken(planned, 100) - forwardFlopsPerToken(planned, 0)).toBe(
      2 * H * width * (100 + 100 + 32 + 32),
    );
    expect(decodeFlopsPerToken(planned, 1001) - decodeFlopsPerToken(planned, 1000)).toBe(2 * 2 * H * 1088);
  });

  it('count what an indexer selects, and its scores of everything', () => {
    const indexer = { heads: 4, headDim: 64, topK: 32 };
    const sparse = { ...config, indexer };
    const parameters = activeOf(sparse) - activeOf(config);
    const difference = trainingFlopsPerToken(sparse, 256) - trainingFlopsPerToken(config, 256);
    const expected = 6 * parameters + 4 * (key * (30 - 128) + 6 * 4 * 64 * 128);
    expect(difference / expected).toBeCloseTo(1, 9);
  });

  it('count a row for each entry in the middle of a model that merges', () => {
    const merging = { preLayers: 1, postLayers: 1 };
    const of = (tokensPerEntry: number) => trainingFlopsPerToken(config, 256, { merging, tokensPerEntry });
    const { attentionPerLayer, moePerLayer, expert } = countParameters(config);
    const layer = attentionPerLayer + moePerLayer - 58 * expert + 2 * D; // 6 of 64 experts, 2 norms
    const saved = 2 * (6 * layer * (1 / 2) + key * (128 - 128 / 4));
    expect((of(1) - of(2)) / saved).toBeCloseTo(1, 9);
    const router = 6 * (2 * D * D + D);
    expect(of(1) - trainingFlopsPerToken(config, 256)).toBeCloseTo(router, 0);
    const fixed = { merging: { ...merging, router: 'stride' as const }, tokensPerEntry: 2 };
    expect(of(2) - trainingFlopsPerToken(config, 256, fixed)).toBeCloseTo(6 * 2 * D * D, 0);
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
