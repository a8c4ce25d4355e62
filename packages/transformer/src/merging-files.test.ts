// Models that merge, saved and loaded: the same bits back, and a sentence for whatever is wrong with the files.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint } from '@minke/checkpoints';
import { Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { copyBack, tokenBitmapText } from '@minke/tokenizer-merging/merging';
import { afterAll, describe, expect, it } from 'vitest';
import {
  DeepSeekModel,
  loadMergingModel,
  loadModel,
  type MergingConfig,
  MergingTransformer,
  mergingParameterShapes,
  parseConfig,
  parseMergingConfig,
  publishedWeights,
  readConfig,
  saveModel,
  toMergingFields,
} from './index.ts';

const root = mkdtempSync(join(tmpdir(), 'minke-merging-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const newFolder = () => join(root, String(folders++));
const backend = createReference();

const config = parseConfig({
  ...{ model_type: 'deepseek_v3', vocab_size: 24, hidden_size: 16, num_hidden_layers: 4 },
  ...{ first_k_dense_replace: 1, num_attention_heads: 2, q_lora_rank: 8, kv_lora_rank: 8 },
  ...{ qk_nope_head_dim: 4, qk_rope_head_dim: 4, v_head_dim: 4, intermediate_size: 24 },
  ...{ moe_intermediate_size: 8, n_routed_experts: 4, num_experts_per_tok: 2, n_shared_experts: 1 },
  ...{ n_group: 1, topk_group: 1, routed_scaling_factor: 2.5, initializer_range: 0.2 },
  max_position_embeddings: 64,
});
const settings: Record<string, MergingConfig> = {
  'by default': { preLayers: 1, postLayers: 1 },
  'all else': {
    ...{ preLayers: 1, postLayers: 2, threshold: 0.375, maxRun: 3, mix: 'mass', sizeBias: 1 },
    ...{ smoothing: false, offsets: true, refine: true },
  },
  'every second token, copied back': { preLayers: 1, postLayers: 1, router: 'stride', ...copyBack },
  'random boundaries': { preLayers: 1, postLayers: 1, router: 'random', tokensPerEntry: 1.5, seed: 7 },
  'a paced router': { preLayers: 1, postLayers: 1, router: 'paced', tokensPerEntry: 1.5, maxRun: 4 },
  'entries that begin at some tokens': {
    ...{ preLayers: 1, postLayers: 1, router: 'tokens', maxRun: 3 },
    boundaryTokens: tokenBitmapText(Uint8Array.from({ length: config.vocabSize }, (_, id) => id % 2)),
  },
  'behind a convolution': { preLayers: 1, postLayers: 1, convKernel: 4 },
  'with a scale for each distance': { preLayers: 2, postLayers: 0, offsets: true, sizeBias: 0 },
};

function randomModel(merging: MergingConfig): MergingTransformer {
  const arena = new Arena(backend, { persistent: true });
  const model = MergingTransformer.init(DeepSeekModel.init(config, { arena, seed: 1 }), merging, { arena });
  const random = new Random(2);
  for (const parameter of model.mergingParameters().values())
    parameter.write(Float32Array.from({ length: parameter.size }, () => random.normal()));
  return model;
}

async function logitsOf(model: MergingTransformer): Promise<number[]> {
  using arena = new Arena(backend);
  const batch = model.batch(arena, [
    [1, 2, 3, 3, 3, 9, 9, 4, 17, 17],
    [5, 5, 6],
  ]);
  return Array.from(await (await model.forward(batch)).logits.read());
}

const bytesOf = async (model: MergingTransformer, dtype: 'f32' | 'bf16') =>
  new Map(
    await Promise.all(
      [...publishedWeights(model, dtype)].map(async ([name, { dtype, data }]) => {
        const bytes = typeof data === 'function' ? await data() : data;
        return [
          name,
          `${dtype} ${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`,
        ] as const;
      }),
    ),
  );

describe.each(Object.entries(settings))('a model that merges, %s', (_, merging) => {
  const model = randomModel(merging);

  it('is loaded with the bits and settings it was saved with', async () => {
    const folder = newFolder();
    await saveModel(model, folder, { dtype: 'f32' });
    const loaded = await loadMergingModel(folder, { backend });
    expect(await bytesOf(loaded, 'f32')).toEqual(await bytesOf(model, 'f32'));
    expect(toMergingFields(loaded.config)).toEqual(toMergingFields(merging));
    expect(loaded.config).toMatchObject(merging);
    expect(await logitsOf(loaded)).toEqual(await logitsOf(model));
    const shapes = [...loaded.mergingParameters()].map(([name, { shape }]) => [name, [...shape]]);
    expect(shapes).toEqual(
      [...mergingParameterShapes(config, merging)].map(([name, shape]) => [name, [...shape]]),
    );
  });

  it('keeps what merges in f32 beside bf16 weights, and is saved again to the same bytes', async () => {
    const [folder, again] = [newFolder(), newFolder()];
    await saveModel(model, folder);
    const loaded = await loadMergingModel(folder, { backend });
    await saveModel(loaded, again);
    for (const file of ['model.safetensors', 'config.json'])
      expect(readFileSync(join(again, file)).equals(readFileSync(join(folder, file))), file).toBe(true);
    const own = [...(await bytesOf(model, 'f32'))].filter(([name]) => name.startsWith('merging.'));
    const kept = await bytesOf(loaded, 'bf16');
    for (const [name, bytes] of own) expect(kept.get(name), name).toBe(bytes);
  });
});

describe('the files of a model that merges', () => {
  const model = randomModel({ preLayers: 1, postLayers: 1, offsets: true });
  const change = async (merging: unknown) => {
    const folder = newFolder();
    await saveModel(model, folder, { dtype: 'f32' });
    const path = join(folder, 'config.json');
    const json = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...json, merging }));
    return folder;
  };

  it.each([
    ['no object', 3, /expected merging an object, got 3/],
    ['nothing', undefined, /expected a field merging in .*got none/],
    [
      'of wrong types',
      { pre_layers: '1', max_run: [], smoothing: 1, mix: 2 },
      /merging.pre_layers a number, got "1"; merging.post_layers a number, got nothing; merging.max_run a number.*mix a string, got 2.*smoothing a boolean, got 1/,
    ],
    [
      'out of bounds',
      { pre_layers: 0, post_layers: 1, threshold: 2, size_bias: 'x' },
      /preLayers an integer of 1 or more, got 0; threshold.*2; sizeBias.*"x"/,
    ],
    [
      'of no router there is',
      { pre_layers: 1, post_layers: 1, router: 'words', router_seed: -1 },
      /router learned, paced, tokens, stride or random, got words.*seed a whole number.*got -1/,
    ],
    [
      'with too long a stride',
      { pre_layers: 1, post_layers: 1, router: 'stride', tokens_per_entry: 9 },
      /tokensPerEntry from 1 to maxRun 8, got 9/,
    ],
    ['too deep', { pre_layers: 2, post_layers: 2 }, /leave one of 4 layers/],
  ])('say what is wrong: settings %s', async (_, merging, message) => {
    const loading = loadMergingModel(await change(merging), { backend });
    await expect(loading).rejects.toMatchObject({ code: 'invalid-config' });
    await expect(loading).rejects.toThrow(message);
  });

  it('say which tensors are missing or of another shape', async () => {
    const loading = loadMergingModel(
      await change({ pre_layers: 1, post_layers: 1, max_run: 5, offsets: true, refine: true }),
      { backend },
    );
    await expect(loading).rejects.toMatchObject({ code: 'invalid-file' });
    await expect(loading).rejects.toThrow(
      /offset_scale is \[7, 16\] instead of \[4, 16\]; merging.inflator.refine.weight is missing/,
    );
    const fewer = await change({ pre_layers: 1, post_layers: 1, router: 'stride', size_bias: 1 });
    await expect(loadMergingModel(fewer, { backend })).rejects.toThrow(
      /of config.json, but merging.inflator.offset_scale is none of them; merging.layers.1.size_bias is none .*merging.merger.query.weight is none/,
    );
  });

  it('are refused by loadModel, which would compute something else', async () => {
    const folder = newFolder();
    await saveModel(model, folder, { dtype: 'f32' });
    await expect(loadModel(folder, { backend })).rejects.toMatchObject({ code: 'unsupported' });
    await expect(loadModel(folder, { backend })).rejects.toThrow(/got merging\..*use loadMergingModel/);
    const weights = await openCheckpoint(folder);
    const open = { config: await readConfig(folder), weights };
    await expect(loadModel(open, { backend })).rejects.toThrow(/use loadMergingModel/);
    const loaded = await loadMergingModel({ ...open, merging: model.config }, { backend });
    await weights.close();
    expect(await logitsOf(loaded)).toEqual(await logitsOf(model));
    expect(parseMergingConfig({}, config)).toBeNull();
  });
});
