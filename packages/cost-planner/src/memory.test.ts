import { type DenseConfig, presets } from '@minke/transformer';
import { expect, it } from 'vitest';
import { generationBytes, weightBytes } from './memory.ts';
import { countParameters } from './parameters.ts';

/** SmolLM2-135M. */
const small: DenseConfig = {
  ...{ modelType: 'llama', vocabSize: 49152, hiddenSize: 576, intermediateSize: 1536, numLayers: 30 },
  ...{ numHeads: 9, numKeyValueHeads: 3, headDim: 64, qkvBias: false, normEps: 1e-5, ropeTheta: 1e5 },
  ...{ llama3: null, yarn: null, moe: null, mtpLayers: 0, tieEmbeddings: true, maxPositions: 8192 },
  ...{ initStd: 0.02, bosTokenId: 1, eosTokenIds: [2], padTokenId: 2 },
};

it('of floats is a number times the parameters', () => {
  for (const config of [
    small,
    presets['DeepSeek-V2-Lite'],
    presets['DeepSeek-V3.2'],
    presets['GLM-4.7-Flash'],
  ]) {
    const { total } = countParameters(config);
    expect([weightBytes(config, 'f32'), weightBytes(config, 'bf16')]).toEqual([4 * total, 2 * total]);
  }
});

it('of blocks leaves norms in f32 and the table in bf16, whose copy as the head is blocks', () => {
  const [norms, table] = [61 * 576, 49152 * 576];
  const layers = 134_515_008 - norms - table;
  const kept = 4 * norms + 2 * table;
  expect(weightBytes(small, 'q8_0')).toBe(((layers + table) / 32) * 34 + kept);
  expect(weightBytes(small, 'q4_0')).toBe(((layers + table) / 32) * 18 + kept);
  const untied = { ...small, tieEmbeddings: false };
  expect(weightBytes(untied, 'q4_0')).toBe(weightBytes(small, 'q4_0'));
});

it('of blocks leaves gates in f32, and has the up-projection of latents twice in 8 bits', () => {
  const config = presets['DeepSeek-V2-Lite'];
  const { total } = countParameters(config);
  // 27 layers of 16 heads of 128 + 128 from 512 latents, 26 gates of 64 experts, norms, the table.
  const [latents, table] = [27 * 16 * 256 * 512, 102_400 * 2048];
  const kept = 26 * 64 * 2048 + 27 * (2 * 2048 + 512) + 2048;
  const blocks = total - kept - table + latents;
  expect(weightBytes(config, 'q8_0')).toBe((blocks / 32) * 34 + 4 * kept + 2 * table);
});

it('of a conversation is that and the latents or keys and values of its tokens', () => {
  const config = presets['DeepSeek-V2-Lite'];
  const cache = generationBytes(config, { storage: 'q4_0', tokens: 4096 }) - weightBytes(config, 'q4_0');
  expect(cache).toBe(4096 * 27 * 576 * 4);
  const dense = generationBytes(small, { storage: 'f32', tokens: 10 }) - weightBytes(small, 'f32');
  expect(dense).toBe(10 * 30 * 2 * 3 * 64 * 4);
  const half = generationBytes(small, { storage: 'f32', tokens: 10, cacheType: 'bf16' });
  expect(half).toBe(weightBytes(small, 'f32') + dense / 2);
});
