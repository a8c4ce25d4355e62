import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import { Arena } from '@minke/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { DeepSeekModel } from './deepseek.ts';
import { huggingFaceConfigText, parseConfig } from './hugging-face-config.ts';
import { attentionCacheBytes } from './layer-attention.ts';
import { loadModel, readConfig, saveModel } from './load.ts';
import { loraModules } from './lora.ts';
import { MergingTransformer } from './merging-transformer.ts';
import {
  denseFixtureNames,
  distance,
  type Expected,
  fastBackend,
  fixtureFolder,
  otherBackends,
  readExpected,
} from './testing/fixtures.ts';

const names = denseFixtureNames;
const tolerance = 1e-4;
const report: Record<string, Record<string, string>> = {};
afterAll(() => console.table(report));

function oneShot(model: DeepSeekModel, { sequences }: Expected): ArrayLike<number> {
  using arena = new Arena(model.backend);
  return model.forward(model.batch(arena, sequences)).logits.readSync();
}

/** Logits [2, 64, V] of both sequences side by side, in pieces of so many tokens, through a cache. */
function inPieces(model: DeepSeekModel, { sequences }: Expected, pieces: readonly number[]): Float32Array {
  const { vocabSize } = model.config;
  using cache = model.createCache({ maxTokens: 64, sequences: 2 });
  const all = new Float32Array(2 * 64 * vocabSize);
  let start = 0;
  for (const count of pieces) {
    using arena = new Arena(model.backend);
    const ids = sequences.flatMap((sequence) => sequence.slice(start, start + count));
    const role = count === 1 ? 'generated' : 'prompt';
    const batch = cache.append(
      arena,
      [0, 1].map((sequence) => ({ sequence, count, role })),
    );
    const { logits } = model.forward({ ids: arena.tensor(ids, [ids.length], 'i32'), ...batch }, { cache });
    const rows = Float32Array.from(logits.readSync());
    for (const s of [0, 1])
      all.set(
        rows.subarray(s * count * vocabSize, (s + 1) * count * vocabSize),
        (s * 64 + start) * vocabSize,
      );
    start += count;
  }
  return all;
}

const ways = {
  'one shot': oneShot,
  'by token': (model: DeepSeekModel, expected: Expected) =>
    inPieces(model, expected, new Array<number>(64).fill(1)),
  'a prompt, then tokens': (model: DeepSeekModel, expected: Expected) =>
    inPieces(model, expected, [40, 1, 1, 20, 1, 1]),
};

describe.each([fastBackend, ...otherBackends].map((backend) => [backend.info.name, backend] as const))(
  'on %s',
  (_, backend: Backend) => {
    describe.each(names)('%s', (name) => {
      it.each(Object.keys(ways) as (keyof typeof ways)[])("gives transformers' logits, %s", async (way) => {
        const model = await loadModel(fixtureFolder(name), { backend });
        const expected = await readExpected(name);
        const logits = ways[way](model, expected);
        const worst = Math.max(distance(logits, expected.logits), distance(logits, expected.exact));
        (report[`${name}, ${backend.info.name}`] ??= {})[way] = worst.toExponential(1);
        expect(worst).toBeLessThanOrEqual(tolerance);
      });
    });
  },
);

describe('a dense model', () => {
  const backend = fastBackend;

  it('gives the same bits in pieces as whole', async () => {
    const model = await loadModel(fixtureFolder('dense-llama'), { backend });
    const expected = await readExpected('dense-llama');
    const whole = oneShot(model, expected);
    for (const pieces of [new Array<number>(64).fill(1), [13, 1, 50]])
      expect(distance(inPieces(model, expected, pieces), whole)).toBe(0);
  });

  it.each(names)('is written as it was read: %s', async (name) => {
    const model = await loadModel(fixtureFolder(name), { backend });
    const folder = mkdtempSync(join(tmpdir(), 'minke-dense-'));
    await saveModel(model, folder, { dtype: 'f32' });
    const again = await loadModel(folder, { backend });
    expect(again.config).toEqual(model.config);
    for (const [key, tensor] of model.parameters())
      expect(distance(again.parameters().get(key)!.readSync(), tensor.readSync())).toBe(0);
    rmSync(folder, { recursive: true });
    expect(parseConfig(JSON.parse(huggingFaceConfigText(model.config)))).toEqual(model.config);
  });

  it('takes as much cache as is said beforehand', async () => {
    const config = await readConfig(fixtureFolder('dense-llama'));
    const model = DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 0 });
    for (const [cacheType, row] of [
      ['f32', 4 * 32],
      ['bf16', 2 * 32],
      ['q8_0', 34],
    ] as const) {
      const size = { maxTokens: 33, sequences: 3, cacheType };
      using cache = model.createCache(size);
      expect(attentionCacheBytes(config, size)).toBe(cache.bytes);
      expect(cache.bytes).toBe(3 * 3 * 33 * 2 * row);
    }
  });

  it('refuses the absorbed form, merging and configs that it does not compute', async () => {
    const config = await readConfig(fixtureFolder('dense-qwen2'));
    const arena = new Arena(backend, { persistent: true });
    const model = DeepSeekModel.init(config, { arena, seed: 0 });
    expect(() => model.createCache({ maxTokens: 8, form: 'absorbed' })).toThrow(/got absorbed; leave it out/);
    using step = new Arena(backend);
    expect(() => model.forward(model.batch(step, [[1, 2]]), { form: 'absorbed' })).toThrow(/got absorbed/);
    expect(() => MergingTransformer.init(model, { preLayers: 1, postLayers: 1 }, { arena })).toThrow(
      /expected latent attention in every layer, got qwen2/,
    );
    const json = JSON.parse(huggingFaceConfigText(config)) as Record<string, unknown>;
    for (const [change, message] of [
      [{ num_key_value_heads: 4 }, /numKeyValueHeads dividing 6 heads, got 4/],
      [{ head_dim: 7 }, /headDim even, got 7/],
      [{ use_sliding_window: true }, /use_sliding_window false, got true/],
      [{ layer_types: ['sliding_attention'] }, /layer_types full_attention in every layer/],
      [
        { rope_scaling: { rope_type: 'dynamic', factor: 2 } },
        /rope_type default, llama3 or yarn, got "dynamic"/,
      ],
      [{ hidden_act: 'gelu' }, /hidden_act "silu", got "gelu"/],
      [{ num_hidden_layers: 1e9 }, /numLayers an integer from 1 to 1024/],
      [{ model_type: 'llama', attention_bias: true }, /attention_bias false, got true/],
    ] as const)
      expect(() => parseConfig({ ...json, ...change })).toThrow(message);
  });

  it('can have an adapter on every projection', async () => {
    const config = await readConfig(fixtureFolder('dense-qwen2'));
    const kinds = new Set([...loraModules(config).keys()].map((name) => name.replace(/^.*\.\d+\./, '')));
    expect([...kinds].sort()).toEqual([
      'mlp.down_proj',
      'mlp.gate_proj',
      'mlp.up_proj',
      'self_attn.k_proj',
      'self_attn.o_proj',
      'self_attn.q_proj',
      'self_attn.v_proj',
    ]);
  });
});
