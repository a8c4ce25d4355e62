// Models whose layers look differently far, or at what an indexer selects.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import { availableBackends } from '@minke/gpu-backends/testing';
import { interleavedPlan, type LayerPlan } from '@minke/mla-attention/hybrid';
import { Arena, crossEntropy, sum } from '@minke/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DeepSeekConfig } from './config.ts';
import { DeepSeekModel } from './deepseek.ts';
import { parseConfig, toHuggingFaceConfig } from './hugging-face-config.ts';
import { attentionCacheBytes } from './layer-attention.ts';
import { loadModel, saveModel } from './load.ts';
import { validateMerging } from './merging-config.ts';
import { distance } from './testing/fixtures.ts';

const base: DeepSeekConfig = {
  ...{
    modelType: 'deepseek_v3',
    vocabSize: 61,
    hiddenSize: 32,
    intermediateSize: 48,
    numLayers: 4,
    numHeads: 2,
  },
  ...{ qLoraRank: 16, kvLoraRank: 12, qkNopeHeadDim: 8, qkRopeHeadDim: 8, vHeadDim: 8, attentionBias: false },
  ...{ moe: null, firstDenseLayers: 4, moeLayerFreq: 1, mtpLayers: 0, normEps: 1e-6, ropeTheta: 10_000 },
  ...{ ropeLayout: 'interleaved', yarn: null, maxPositions: 64, initStd: 0.2, tieEmbeddings: false },
  ...{ bosTokenId: 0, eosTokenIds: [1], padTokenId: null },
};
const plan = (changes: Partial<LayerPlan> = {}): DeepSeekConfig => ({
  ...base,
  layerPlan: { layerTypes: ['local', 'hybrid', 'local', 'global'], window: 5, ...changes },
});
const configs: Record<string, DeepSeekConfig> = {
  'latent attention': base,
  'a layer plan': plan(),
  'a layer plan with sinks': plan({ sinks: true, farBiasLimit: 8 }),
  'an indexer': { ...base, indexer: { heads: 4, headDim: 8, topK: 6 } },
};
const sequences = [
  Array.from({ length: 21 }, (_, i) => (7 * i + 3) % 61),
  Array.from({ length: 9 }, (_, i) => (11 * i + 5) % 61),
];

const backends = await availableBackends();
/** For what does not depend on the backend. */
const [, one] = backends[1] as [string, Backend];
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'minke-layers-'));
});
afterAll(() => {
  for (const [, backend] of backends) backend.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** A model whose far biases and sinks are not zero. */
function modelOf(config: DeepSeekConfig, backend: Backend): DeepSeekModel {
  const model = DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 4 });
  for (const [name, parameter] of model.parameters())
    if (/far_bias|sinks/.test(name))
      parameter.write(Float32Array.from({ length: parameter.size }, (_, i) => 0.3 * Math.sin(i + 1)));
  return model;
}

async function oneShot(model: DeepSeekModel): Promise<ArrayLike<number>> {
  using arena = new Arena(model.backend);
  return model.forward(model.batch(arena, sequences)).logits.read();
}

/** Logits in the order of `oneShot`, from a cache that is fed so many tokens of each sequence at a time. */
async function inChunks(model: DeepSeekModel, chunk: number): Promise<Float32Array> {
  const { vocabSize } = model.config;
  using cache = model.createCache({ maxTokens: 24, sequences: 2, slack: 2 });
  const all = new Float32Array(30 * vocabSize);
  for (let t = 0; t < 21; t += chunk) {
    const parts = sequences.flatMap((sequence, s) => {
      const ids = sequence.slice(t, t + chunk);
      return ids.length > 0 ? [{ s, ids }] : [];
    });
    using arena = new Arena(model.backend);
    const ids = parts.flatMap((part) => part.ids);
    const role = chunk === 1 ? ('generated' as const) : ('prompt' as const);
    const requests = parts.map((part) => ({ sequence: part.s, count: part.ids.length, role }));
    const batch = { ids: arena.tensor(ids, [ids.length], 'i32'), ...cache.append(arena, requests) };
    const rows = await model.forward(batch, { cache }).logits.read();
    let from = 0;
    for (const part of parts) {
      const size = part.ids.length * vocabSize;
      all.set(Float32Array.from(rows).subarray(from, from + size), (part.s * 21 + t) * vocabSize);
      from += size;
    }
  }
  return all;
}

describe.each(Object.entries(configs))('a model with %s', (name, config) => {
  const reference = oneShot(modelOf(config, backends[0]![1]));

  it.each(backends)('gives the same whole, in chunks and token by token, on %s', async (_, backend) => {
    const model = modelOf(config, backend);
    const whole = await oneShot(model);
    expect(distance(whole, await reference)).toBeLessThan(2e-4);
    for (const chunk of [1, 4])
      expect(distance(await inChunks(model, chunk), whole), `${chunk}`).toBeLessThan(2e-4);
  });

  it('has a cache of as many bytes as are predicted', () => {
    const model = modelOf(config, one);
    for (const size of [{ maxTokens: 24 }, { maxTokens: 40, sequences: 3, slack: 2 }]) {
      using cache = model.createCache(size);
      expect(cache.bytes).toBe(attentionCacheBytes(config, size));
    }
    if (name === 'latent attention') {
      using cache = model.createCache({ maxTokens: 24, form: 'expanded' });
      expect(cache.bytes).toBe(attentionCacheBytes(config, { maxTokens: 24, form: 'expanded' }));
    }
    for (const cacheType of ['bf16', 'q8_0'] as const) {
      const size = { maxTokens: 24, sequences: 3, cacheType };
      if (name !== 'latent attention') {
        expect(() => model.createCache(size)).toThrow(/expected cacheType f32 for latents/);
        expect(() => attentionCacheBytes(config, size)).toThrow(/expected cacheType f32 for latents/);
      } else {
        using cache = model.createCache(size);
        expect(cache.bytes).toBe(attentionCacheBytes(config, size));
      }
    }
  });

  it('is the same from a folder', async () => {
    const model = modelOf(config, one);
    await saveModel(model, join(folder, name), { dtype: 'f32' });
    const loaded = await loadModel(join(folder, name), { backend: one });
    expect(loaded.config).toEqual(config);
    expect(distance(await oneShot(loaded), await oneShot(model))).toBe(0);
  });

  it('sends gradients to every parameter that the main loss depends on', () => {
    const model = modelOf(config, one);
    using arena = new Arena(one, { grad: true });
    const batch = model.batch(arena, sequences);
    const { logits } = model.forward(batch);
    sum(crossEntropy(logits, batch.ids)).backward();
    for (const [parameter, tensor] of model.parameters()) {
      const gradient = tensor.grad?.readSync() ?? [];
      const moves = Array.from(gradient).some((value) => value !== 0);
      expect(moves, parameter).toBe(!parameter.includes('.indexer.'));
    }
  });
});

describe('layers that look differently far', () => {
  it('begin as latent attention where they see everything', async () => {
    const init = (config: DeepSeekConfig) =>
      DeepSeekModel.init(config, { arena: new Arena(one, { persistent: true }), seed: 4 });
    const global = await oneShot(init(base));
    const { layerTypes } = interleavedPlan(4, { window: 64, far: 'hybrid' });
    for (const changes of [{ window: 64 }, { layerTypes, window: 3 }])
      expect(distance(await oneShot(init(plan(changes))), global) < 1e-4).toBe(changes.window === 64);
    // Hybrid layers alone are exact at their initial value, whatever the window.
    const hybrid = init(plan({ layerTypes: ['hybrid', 'hybrid', 'hybrid', 'global'] }));
    expect(distance(await oneShot(hybrid), global)).toBeLessThan(1e-4);
  });

  it('are no place for a cache of another model', () => {
    const model = modelOf(plan(), one);
    using cache = modelOf(base, one).createCache({ maxTokens: 8 });
    using arena = new Arena(one);
    const batch = {
      ids: arena.tensor([3], [1], 'i32'),
      ...cache.append(arena, [{ sequence: 0, count: 1, role: 'prompt' }]),
    };
    expect(() => model.forward(batch, { cache })).toThrow(/expected the hybrid cache.*got latent/);
    expect(() => model.createCache({ maxTokens: 8, form: 'expanded' })).toThrow(
      /absorbed beside a layer plan/,
    );
  });
});

describe('an indexer', () => {
  it('learns from a loss of its own, in both stages', () => {
    const model = modelOf(configs['an indexer'] as DeepSeekConfig, one);
    for (const indexer of ['warm-up', 'sparse'] as const) {
      using arena = new Arena(one, { grad: true });
      const { indexerLosses } = model.forward(model.batch(arena, sequences), { indexer });
      expect(indexerLosses).toHaveLength(4);
      for (const loss of indexerLosses) {
        expect((loss.readSync()[0] as number) > 0).toBe(true);
        loss.backward();
      }
      for (const [name, tensor] of model.parameters()) {
        const gradient = tensor.grad?.readSync() ?? [];
        expect(
          Array.from(gradient).some((value) => value !== 0),
          name,
        ).toBe(name.includes('.indexer.'));
        tensor.grad?.write(new Float32Array(tensor.size));
      }
    }
  });
});

describe('config.json', () => {
  const json = (config: DeepSeekConfig, changes: object = {}) => ({
    ...toHuggingFaceConfig(config),
    ...changes,
  });

  it('names layers as transformers does, and V3.2 by its model type', () => {
    expect(json(plan())).toMatchObject({
      layer_types: ['sliding_attention', 'hybrid_attention', 'sliding_attention', 'full_attention'],
      ...{ sliding_window: 5, attention_sinks: false, model_type: 'deepseek_v3' },
    });
    expect(json(configs['an indexer'] as DeepSeekConfig)).toMatchObject({
      ...{ model_type: 'deepseek_v32', index_n_heads: 4, index_head_dim: 8, index_topk: 6 },
    });
    expect(parseConfig(json(base, { layer_types: new Array(4).fill('full_attention') }))).toEqual(base);
  });

  it.each([
    ['a layer of no known kind', plan(), { layer_types: ['chunked_attention'] }, /layer_types a list of/],
    [
      'too few layers',
      plan(),
      { layer_types: ['sliding_attention'] },
      /layerTypes for each of 4 layers, got 1/,
    ],
    ['no window', plan(), { sliding_window: 0 }, /window a positive integer, got 0/],
    ['an indexer in V3', base, { index_topk: 8 }, /model_type deepseek_v32 beside index_topk/],
    [
      'an indexer without heads',
      configs['an indexer'],
      { index_n_heads: 0 },
      /indexer\.heads an integer from 1/,
    ],
    [
      'an indexer of adjacent rotary pairs',
      configs['an indexer'],
      { indexer_rope_interleave: true },
      /indexer_rope_interleave false, got true/,
    ],
    ['a narrow indexer', configs['an indexer'], { index_head_dim: 4 }, /indexer\.headDim of at least/],
  ])('is refused with %s', (_, config, changes, message) => {
    expect(() => parseConfig(json(config as DeepSeekConfig, changes))).toThrow(message);
  });

  it('cannot ask for both, nor for merging beside either', () => {
    const both = { ...plan(), indexer: { heads: 1, headDim: 8, topK: 2 } };
    expect(() => new DeepSeekModel(both, new Map())).toThrow(/a layerPlan or an indexer, got both/);
    expect(() => validateMerging({ preLayers: 1, postLayers: 1 }, plan())).toThrow(/got a layer plan/);
  });
});
