import {
  type GgufFile,
  type GgufTensorInfo,
  type GgufValue,
  openGguf,
  openSafetensors,
} from '@minke/checkpoints';
import { Arena } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { configFromGguf } from './gguf-config.ts';
import { ggufWeights } from './gguf-weights.ts';
import { loadModel, readConfig } from './load.ts';
import { distance, fastBackend, fixtureFolder, readExpected } from './testing/fixtures.ts';

const backend = fastBackend;
const path = (name: string) => fixtureFolder(`gguf/${name}.gguf`);

/** A file with other metadata, and without or beside its tensors others. */
function changed(
  file: GgufFile,
  values: Record<string, GgufValue | undefined>,
  tensors: Record<string, GgufTensorInfo | undefined> = {},
): GgufFile {
  const change = <T>(map: ReadonlyMap<string, T>, by: Record<string, T | undefined>) => {
    const copy = new Map(map);
    for (const [key, value] of Object.entries(by))
      if (value === undefined) copy.delete(key);
      else copy.set(key, value);
    return copy;
  };
  return { ...file, values: change(file.values, values), tensors: change(file.tensors, tensors) };
}

// Written by tools/parity/gguf_models.py.
describe.each([
  ['dense-llama', 'dense-llama'],
  ['dense-qwen2', 'dense-qwen2'],
  ['v3-base', 'v3-base'],
  ['v2-lite-fused', 'v2-lite'],
  ['mtp-v3', 'mtp-v3'],
])('the GGUF file %s', (name, fixture) => {
  it('gives the weights of the checkpoint it was made of, to the bit', async () => {
    const [ours, theirs] = [
      await loadModel(path(name), { backend }),
      await loadModel(fixtureFolder(fixture), { backend }),
    ];
    expect([...ours.parameters().keys()]).toEqual([...theirs.parameters().keys()]);
    for (const [key, tensor] of theirs.parameters())
      expect(distance(ours.parameters().get(key)!.readSync(), tensor.readSync()), key).toBe(0);
  });

  it("gives transformers' logits", async () => {
    const model = await loadModel(path(name), { backend });
    const { sequences, exact } = await readExpected(fixture);
    using arena = new Arena(backend);
    const { logits } = model.forward(model.batch(arena, sequences));
    expect(distance(logits.readSync(), exact)).toBeLessThan(1e-4);
  });

  it('gives the configuration of config.json', async () => {
    const file = await openGguf(path(name));
    const { initStd: _, ...config } = await configFromGguf(file);
    const { initStd: __, ...expected } = await readConfig(fixtureFolder(fixture));
    expect(config).toEqual(expected);
    await file.close();
  });
});

describe('multi-token prediction in a GGUF file', () => {
  it("gives transformers' predictions", async () => {
    const model = await loadModel(path('mtp-v3'), { backend });
    expect(model.mtp).toHaveLength(2);
    const { sequences } = await readExpected('mtp-v3');
    const expected = await openSafetensors(`${fixtureFolder('mtp-v3')}/expected.safetensors`);
    using arena = new Arena(backend);
    const [sequence] = sequences as [number[]];
    const batch = model.batch(arena, [sequence]);
    const following = [...sequence.slice(1), -1];
    const { hidden } = model.forward(batch);
    const ids = arena.tensor(following, [following.length], 'i32');
    const { logits } = model.predictAhead(0, hidden, { ...batch, ids });
    const rows = 31 * model.config.vocabSize;
    const exact = (await expected.readFloat32('mtp.0')).slice(0, rows);
    expect(distance(Float32Array.from(logits.readSync()).slice(0, rows), exact)).toBeLessThan(1e-4);
    await expected.close();
  });

  it('that is announced and left out is none', async () => {
    const file = await openGguf(path('v3-base'));
    const announced = { 'deepseek2.nextn_predict_layers': 1 };
    for (const count of [3, 4]) {
      const values = { ...announced, 'deepseek2.block_count': count };
      expect(await configFromGguf(changed(file, values))).toMatchObject({ numLayers: 3, mtpLayers: 0 });
    }
    await file.close();
  });

  it('of which a part is missing is named', async () => {
    const file = await openGguf(path('mtp-v3'));
    const without = changed(file, {}, { 'blk.3.nextn.hnorm.weight': undefined });
    const config = await configFromGguf(without);
    const loading = loadModel({ config, weights: ggufWeights(without, config) }, { backend });
    await expect(loading).rejects.toThrow(/model.layers.3.hnorm.weight is missing/);
    await file.close();
  });
});

describe('latent projections', () => {
  it('of both generations beside each other are taken from the older, flat ones by their rows', async () => {
    const file = await openGguf(path('v3-base'));
    const config = await configFromGguf(file);
    const key = 'model.layers.1.self_attn.kv_b_proj.weight';
    const expected = await ggufWeights(file, config).readFloat32(key);
    const k = file.tensors.get('blk.1.attn_k_b.weight')!;
    const [heads, rank, nope] = k.shape as [number, number, number];
    const flat = changed(file, {}, { 'blk.1.attn_k_b.weight': { ...k, shape: [heads * rank, nope] } });
    expect(await ggufWeights(flat, config).readFloat32(key)).toEqual(expected);

    const fused = { ...file.tensors.get('blk.1.attn_v_b.weight')!, shape: [heads * (nope + 16), rank] };
    const both = {
      ...changed(file, {}, { 'blk.1.attn_kv_b.weight': fused }),
      readFloat32: async (name: string) => Float32Array.of(Number(name === 'blk.1.attn_kv_b.weight')),
    };
    expect([...(await ggufWeights(both, config).readFloat32(key))]).toEqual([1]);
    await file.close();
  });

  it('that are missing or of another shape are named', async () => {
    const file = await openGguf(path('v3-base'));
    const config = await configFromGguf(file);
    const k = file.tensors.get('blk.0.attn_k_b.weight')!;
    for (const [k_b, message] of [
      [undefined, /layers.0.self_attn.kv_b_proj.weight is missing/],
      [{ ...k, shape: [4, 16, 24] }, /kv_b_proj.weight is \[4, 16, 24\] instead of \[128, 24\]/],
    ] as const) {
      const weights = ggufWeights(changed(file, {}, { 'blk.0.attn_k_b.weight': k_b }), config);
      await expect(loadModel({ config, weights }, { backend })).rejects.toThrow(message);
    }
    await file.close();
  });
});

describe('bad metadata', () => {
  it.each<[string, string, Record<string, GgufValue | undefined>, RegExp]>([
    ['other architectures', 'dense-llama', { 'general.architecture': 'gemma' }, /got gemma/],
    ['none', 'dense-llama', { 'general.architecture': undefined }, /got undefined/],
    [
      'head counts that do not divide',
      'dense-llama',
      { 'llama.attention.head_count_kv': 3 },
      /dividing 4 heads, got 3/,
    ],
    ['no heads', 'dense-llama', { 'llama.attention.head_count': 0 }, /numHeads an integer from 1/],
    ['a billion layers', 'dense-llama', { 'llama.block_count': 1e9 }, /numLayers an integer from 1 to 1024/],
    [
      'layers of different heads',
      'dense-llama',
      { 'llama.attention.head_count': new Int32Array(3) },
      /a number, got "an array of 3"/,
    ],
    [
      'huge numbers',
      'dense-llama',
      { 'llama.block_count': 2n ** 63n },
      /a number, got "9223372036854775808"/,
    ],
    [
      'odd heads',
      'dense-qwen2',
      {
        'qwen2.attention.key_length': 15,
        'qwen2.attention.value_length': 15,
        'qwen2.rope.dimension_count': 15,
      },
      /headDim even/,
    ],
    [
      'half rotated heads',
      'dense-llama',
      { 'llama.rope.dimension_count': 8 },
      /rope.dimension_count 16, got 8/,
    ],
    ['experts in a dense model', 'dense-llama', { 'llama.expert_count': 8 }, /got one with experts/],
    [
      'other rotary scalings',
      'dense-qwen2',
      { 'qwen2.rope.scaling.type': 'linear', 'qwen2.rope.scaling.factor': 4 },
      /none or yarn, got linear/,
    ],
    ['text for a number', 'dense-qwen2', { 'qwen2.embedding_length': '48' }, /a number, got "48"/],
    [
      'end tokens beyond the vocabulary',
      'dense-qwen2',
      { 'tokenizer.ggml.eos_token_id': 97 },
      /eosTokenIds an integer from 0 to 96/,
    ],
    ['more experts used than there are', 'v3-base', { 'deepseek2.expert_used_count': 9 }, /topK at most 8/],
    ['groups that do not divide', 'v3-base', { 'deepseek2.expert_group_count': 3 }, /groups dividing 8/],
    ['no latent', 'v3-base', { 'deepseek2.attention.kv_lora_rank': 0 }, /kvLoraRank an integer from 1/],
    ['odd rotary widths', 'v3-base', { 'deepseek2.rope.dimension_count': 7 }, /qkRopeHeadDim even, got 7/],
    [
      'other gates',
      'v3-base',
      { 'deepseek2.expert_gating_func': 4 },
      /1 \(softmax\) or 2 \(sigmoid\), got 4/,
    ],
    ['a billion experts', 'v3-base', { 'deepseek2.expert_count': 1e9 }, /moe.experts an integer/],
  ])('%s', async (_, name, values, message) => {
    const file = await openGguf(path(name));
    await expect(configFromGguf(changed(file, values))).rejects.toThrow(message);
    await file.close();
  });

  it("divisors that Llama 3's scaling does not give are refused, its own found again", async () => {
    const file = await openGguf(path('dense-llama'));
    const own = await file.readFloat32('rope_freqs.weight');
    const withDivisors = (divisors: Float32Array) =>
      configFromGguf({ ...file, readFloat32: async () => divisors });
    expect(await withDivisors(own)).toMatchObject({ llama3: { factor: 8, originalMaxPositions: 128 } });
    expect(await withDivisors(new Float32Array(8).fill(1))).toMatchObject({ llama3: null });
    await expect(withDivisors(own.map((d, i) => (i === 2 ? 5 : d)))).rejects.toThrow(/rope_freqs.weight/);
    await expect(withDivisors(new Float32Array([1, 8]))).rejects.toThrow(/rope_freqs.weight/);
    await file.close();
  });
});
