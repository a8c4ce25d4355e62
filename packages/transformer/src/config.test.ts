import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { validateConfig } from './config.ts';
import { huggingFaceConfigText, parseConfig, toHuggingFaceConfig } from './hugging-face-config.ts';
import { presets } from './presets.ts';
import { fixtureFolder } from './testing/fixtures.ts';

const read = (name: string) =>
  JSON.parse(readFileSync(`${fixtureFolder(name)}/config.json`, 'utf8')) as Record<string, unknown>;
const base = read('v3-base');

/** DeepSeek-V3's config.json as published, without fields that mean nothing here. */
const publishedV3 = {
  architectures: ['DeepseekV3ForCausalLM'],
  auto_map: { AutoConfig: 'configuration_deepseek.DeepseekV3Config' },
  model_type: 'deepseek_v3',
  attention_bias: false,
  bos_token_id: 0,
  eos_token_id: 1,
  ep_size: 1,
  first_k_dense_replace: 3,
  hidden_act: 'silu',
  hidden_size: 7168,
  initializer_range: 0.02,
  intermediate_size: 18432,
  kv_lora_rank: 512,
  max_position_embeddings: 163840,
  moe_intermediate_size: 2048,
  moe_layer_freq: 1,
  n_group: 8,
  n_routed_experts: 256,
  n_shared_experts: 1,
  norm_topk_prob: true,
  num_attention_heads: 128,
  num_experts_per_tok: 8,
  num_hidden_layers: 61,
  num_key_value_heads: 128,
  num_nextn_predict_layers: 1,
  q_lora_rank: 1536,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  quantization_config: { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: [128, 128] },
  rms_norm_eps: 1e-6,
  rope_scaling: {
    beta_fast: 32,
    beta_slow: 1,
    factor: 40,
    mscale: 1,
    mscale_all_dim: 1,
    original_max_position_embeddings: 4096,
    type: 'yarn',
  },
  rope_theta: 10000,
  routed_scaling_factor: 2.5,
  scoring_func: 'sigmoid',
  tie_word_embeddings: false,
  topk_group: 4,
  topk_method: 'noaux_tc',
  v_head_dim: 128,
  vocab_size: 129280,
};

describe('config.json', () => {
  it('of DeepSeek-V3 as published is the preset, but for the initialisation the paper trained with', () => {
    expect(parseConfig(publishedV3)).toEqual({ ...presets['DeepSeek-V3'], initStd: 0.02 });
  });

  it('is read with rope_scaling and with rope_parameters, type and rope_type', () => {
    const { rope_scaling, rope_theta, ...rest } = publishedV3;
    const { type, ...scaling } = rope_scaling;
    const renamed = { ...rest, rope_parameters: { ...scaling, rope_type: type, rope_theta } };
    expect(parseConfig(renamed)).toEqual(parseConfig(publishedV3));
    expect(parseConfig({ ...publishedV3, rope_scaling: null }).yarn).toBeNull();
  });

  it('without a YaRN factor takes the ratio of the contexts', () => {
    const { factor: _, ...scaling } = publishedV3.rope_scaling;
    expect(parseConfig({ ...publishedV3, rope_scaling: scaling }).yarn?.factor).toBe(40);
  });

  it.each(Object.entries(presets))('written for %s is read back as it was', (_, config) => {
    expect(parseConfig(JSON.parse(huggingFaceConfigText(config)))).toEqual(config);
  });

  it('written for a dense model is read back as it was', () => {
    const dense = { ...presets['DeepSeek-V3'], moe: null, firstDenseLayers: 61 };
    expect(parseConfig(toHuggingFaceConfig(dense))).toEqual(dense);
  });

  it('writes whole numbers that transformers wants as floats with a decimal point', () => {
    const text = huggingFaceConfigText(presets['DeepSeek-V2-Lite']);
    expect(text).toContain('"routed_scaling_factor": 1.0,');
    expect(text).toContain('"rope_theta": 10000.0,');
    expect(text).toContain('"factor": 40.0,');
    expect(text).toContain('"hidden_size": 2048,');
  });

  it('takes a query rank of 0 for none, and lists of end tokens', () => {
    expect(parseConfig({ ...base, q_lora_rank: 0 })).toMatchObject({ qLoraRank: null });
    expect(parseConfig({ ...base, eos_token_id: [1, 2] }).eosTokenIds).toEqual([1, 2]);
    expect(parseConfig({ ...base, eos_token_id: null }).eosTokenIds).toEqual([]);
  });

  it('may list which layers are dense, as transformers writes V3.2', () => {
    const v32 = read('v32-sparse');
    const { first_k_dense_replace: _, ...listed } = v32;
    expect(parseConfig(listed)).toEqual(parseConfig(v32));
    const types = ['dense', 'dense', 'sparse'];
    expect(parseConfig({ ...listed, mlp_layer_types: types })).toMatchObject({ firstDenseLayers: 2 });
  });

  it('of Kimi-K2 or GLM-4.7-Flash is a V3', () => {
    expect(parseConfig({ ...base, model_type: 'kimi_k2' }).modelType).toBe('deepseek_v3');
    const { first_k_dense_replace: _, rms_norm_eps: __, ...rest } = base;
    expect(parseConfig({ ...rest, model_type: 'glm4_moe_lite' })).toMatchObject({
      ...{ modelType: 'deepseek_v3', firstDenseLayers: 1, normEps: 1e-5 },
    });
  });
});

describe('a bad config.json', () => {
  const problemsOf = (config: unknown): string => {
    try {
      parseConfig(config);
    } catch (error) {
      expect(error).toMatchObject({ name: 'MinkeError', code: 'invalid-config' });
      return (error as Error).message;
    }
    return 'no problem';
  };

  it('has all its problems reported together', () => {
    const { hidden_size: _, kv_lora_rank: __, ...rest } = base;
    const message = problemsOf({ ...rest, vocab_size: 'many', hidden_act: 'gelu', qk_rope_head_dim: null });
    expect(message).toContain('hidden_size a number, got nothing');
    expect(message).toContain('kv_lora_rank a number, got nothing');
    expect(message).toContain('vocab_size a number, got "many"');
    expect(message).toContain('qk_rope_head_dim a number, got null');
    expect(message).toContain('hidden_act "silu", got "gelu"');
  });

  it.each([
    ['an absurd size', { hidden_size: 1e12 }, 'hiddenSize an integer from 1 to 131072, got 1000000000000'],
    [
      'a mixture before a dense layer',
      { mlp_layer_types: ['dense', 'sparse', 'dense'] },
      'a list of dense, then sparse',
    ],
    [
      'too short a list of layers',
      { mlp_layer_types: ['dense'] },
      'mlp_layer_types of num_hidden_layers entries, got 1',
    ],
    ['a negative size', { num_hidden_layers: -1 }, 'numLayers'],
    ['a fraction', { num_attention_heads: 2.5 }, 'numHeads'],
    ['an odd rotary width', { qk_rope_head_dim: 7 }, 'qkRopeHeadDim even, got 7'],
    ['groups that do not divide', { n_group: 3 }, 'moe.groups dividing 8 experts, got 3'],
    ['more experts a token than there are', { num_experts_per_tok: 9 }, 'moe.topK at most 8'],
    ['a zero epsilon', { rms_norm_eps: 0 }, 'normEps a number above 0'],
    ['an infinite scale', { routed_scaling_factor: Number.POSITIVE_INFINITY }, 'moe.scalingFactor'],
    ['a token outside the vocabulary', { eos_token_id: 97 }, 'eosTokenIds an integer from 0 to 96, got 97'],
    ['text for an end token', { eos_token_id: ['x'] }, 'eosTokenIds'],
    ['another gate', { scoring_func: 'softmax' }, 'scoring_func sigmoid for this model_type, got "softmax"'],
    ['another method', { topk_method: 'greedy' }, 'topk_method noaux_tc, got "greedy"'],
    ['no group count', { n_group: undefined }, 'n_group a number, got nothing'],
    ['sparse attention in V3', { index_topk: 2048 }, 'model_type deepseek_v32 beside index_topk'],
    [
      'an unknown scaling',
      { rope_parameters: { rope_type: 'longrope' } },
      'rope_parameters.rope_type default or yarn',
    ],
    ['scaling that is no object', { rope_parameters: [1] }, 'rope_parameters an object, got [1]'],
    [
      'YaRN without its context',
      { rope_parameters: { rope_type: 'yarn', factor: 4 } },
      'rope_parameters.original_max_position_embeddings',
    ],
    [
      'another model',
      { model_type: 'mistral' },
      'model_type deepseek_v2, deepseek_v3, deepseek_v32, kimi_k2, glm4_moe_lite, llama or qwen2, got "mistral"',
    ],
    ['no model type', { model_type: undefined }, 'model_type'],
  ])('with %s is refused', (_, change, message) => {
    expect(problemsOf({ ...base, ...change })).toContain(message);
  });

  it.each([[null], [[]], ['text'], [3]])('that is %j is refused', (json) => {
    expect(problemsOf(json)).toContain('a JSON object');
  });

  it('is not fooled by names every object has', () => {
    expect(problemsOf(JSON.parse('{"model_type": "deepseek_v3", "__proto__": {"vocab_size": 5}}'))).toContain(
      'vocab_size',
    );
  });

  it('made by hand is refused too', () => {
    expect(() => validateConfig({ ...presets['DeepSeek-V3'], numLayers: 0, ropeTheta: -1 })).toThrow(
      /numLayers an integer from 1 to 1024, got 0; ropeTheta a number above 0/,
    );
  });
});
