/**
 * Hugging Face's config.json, both ways.
 *
 * Field meanings follow the published configs of DeepSeek-V2 and V3 and transformers' DeepseekV2Config and
 * DeepseekV3Config; those of dense models are in dense-fields.ts. Fields without effect on the model are ignored; what would change it and is not implemented
 * is refused. All problems of a file are reported together.
 */

import { MinkeError } from '@minke/core';
import type { LayerType } from '@minke/mla-attention/hybrid';
import { fromCommon, parseCommon } from './common-config.ts';
import { configProblems, type DeepSeekConfig, type ModelConfig, type MoeShape } from './config.ts';
import { Fields } from './config-fields.ts';
import { isDenseConfig } from './dense-config.ts';
import { fromDense, parseDense } from './dense-fields.ts';
import { ropeOf, yarnFields } from './rope-fields.ts';
import { show } from './show.ts';

/**
 * Our configuration from a parsed config.json. Throws `invalid-config` with every problem found: missing fields,
 * wrong types, values out of bounds, and settings this implementation does not have.
 *
 * @example
 * const config = parseConfig(JSON.parse(readFileSync('config.json', 'utf8')));
 */
export function parseConfig(json: unknown): ModelConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new MinkeError('invalid-config', `config: expected a JSON object, got ${show(json)}`);
  }
  const fields = new Fields(json as Record<string, unknown>, '');
  const type = fields.text('model_type', '');
  const config =
    type === 'llama' || type === 'qwen2' ? parseDense(fields, type) : parseDeepSeek(fields, type);
  const problems = [...fields.problems];
  if (problems.length === 0) problems.push(...configProblems(config));
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `config: expected ${problems.join('; ')}`, {
      details: { problems },
    });
  return config;
}

function parseDeepSeek(fields: Fields, type: string): DeepSeekConfig {
  const v2 = type === 'deepseek_v2';
  const v32 = type === 'deepseek_v32';
  const glm = type === 'glm4_moe_lite';
  if (!v2 && !v32 && !glm && type !== 'deepseek_v3' && type !== 'kimi_k2') {
    throw new MinkeError(
      'invalid-config',
      `config: expected model_type deepseek_v2, deepseek_v3, deepseek_v32, kimi_k2, glm4_moe_lite, llama or qwen2, got ${show(fields.raw('model_type'))}`,
    );
  }
  const maxPositions = fields.number('max_position_embeddings', v2 ? 2048 : 4096);
  const { ropeTheta, yarn } = ropeOf(fields, maxPositions);
  const config: DeepSeekConfig = {
    modelType: v2 ? 'deepseek_v2' : 'deepseek_v3',
    vocabSize: fields.number('vocab_size'),
    hiddenSize: fields.number('hidden_size'),
    intermediateSize: fields.number('intermediate_size'),
    numLayers: fields.number('num_hidden_layers'),
    numHeads: fields.number('num_attention_heads'),
    qLoraRank: fields.nullable('q_lora_rank') || null, // 0 and null both mean none
    kvLoraRank: fields.number('kv_lora_rank'),
    qkNopeHeadDim: fields.number('qk_nope_head_dim'),
    qkRopeHeadDim: fields.number('qk_rope_head_dim'),
    vHeadDim: fields.number('v_head_dim'),
    attentionBias: fields.flag('attention_bias', false),
    moe: moeOf(fields, v2),
    firstDenseLayers: firstDenseOf(fields, v2 ? 0 : glm ? 1 : 3),
    moeLayerFreq: fields.number('moe_layer_freq', 1),
    mtpLayers: fields.number('num_nextn_predict_layers', 0),
    normEps: fields.number('rms_norm_eps', glm ? 1e-5 : 1e-6),
    ropeTheta,
    yarn,
    ropeLayout: fields.flag('rope_interleave', true) ? 'interleaved' : 'half',
    ...parseCommon(fields, maxPositions),
    ...(v32 ? indexerOf(fields) : layerPlanOf(fields)),
  };
  fields.only('hidden_act', 'silu');
  fields.only('mlp_bias', false);
  if (!v32 && fields.raw('index_topk') != null)
    fields.problems.push('model_type deepseek_v32 beside index_topk');
  return config;
}

/** Layers before the first mixture: as a number, or read off the list that transformers writes for V3.2. */
function firstDenseOf(fields: Fields, fallback: number): number {
  const types = fields.raw('mlp_layer_types') ?? null;
  if (types === null) return fields.number('first_k_dense_replace', fallback);
  const names: readonly unknown[] = Array.isArray(types) ? types : [];
  const dense = names.findIndex((name) => name !== 'dense');
  const first = dense === -1 ? names.length : dense;
  const fits = Array.isArray(types) && names.slice(first).every((name) => name === 'sparse');
  if (!fits) fields.problems.push(`mlp_layer_types a list of dense, then sparse, got ${show(types)}`);
  else if (names.length !== fields.number('num_hidden_layers'))
    fields.problems.push(`mlp_layer_types of num_hidden_layers entries, got ${names.length}`);
  return first;
}

/** V3.2's indexer. */
function indexerOf(fields: Fields): Pick<DeepSeekConfig, 'indexer'> {
  // GLM-5 has indexers of the other layout.
  fields.only('indexer_rope_interleave', false);
  return {
    indexer: {
      heads: fields.number('index_n_heads', 64),
      headDim: fields.number('index_head_dim', 128),
      topK: fields.number('index_topk', 2048),
    },
  };
}

/** How far layers look, by the names that transformers has for layers of other families; `hybrid_attention` is ours. */
const layerTypeNames = {
  local: 'sliding_attention',
  global: 'full_attention',
  hybrid: 'hybrid_attention',
} as const satisfies Record<LayerType, string>;

function layerPlanOf(fields: Fields): Pick<DeepSeekConfig, 'layerPlan'> {
  const names = fields.raw('layer_types') ?? null;
  if (names === null) return {};
  const types = Object.keys(layerTypeNames) as LayerType[];
  const typeOf = (name: unknown) => types.find((type) => layerTypeNames[type] === name);
  if (!Array.isArray(names) || names.some((name) => typeOf(name) === undefined)) {
    fields.problems.push(
      `layer_types a list of ${Object.values(layerTypeNames).join(', ')}, got ${show(names)}`,
    );
    return {};
  }
  const layerTypes = names.map((name) => typeOf(name) as LayerType);
  // Published files of full attention alone have this field too.
  if (layerTypes.every((type) => type === 'global')) return {};
  const farBiasLimit = fields.nullable('far_bias_limit', null);
  return {
    layerPlan: {
      layerTypes,
      window: fields.number('sliding_window'),
      ...(fields.flag('attention_sinks', false) && { sinks: true }),
      ...(farBiasLimit !== null && { farBiasLimit }),
    },
  };
}

function moeOf(fields: Fields, v2: boolean): MoeShape | null {
  if (!fields.nullable('n_routed_experts', null)) return null;
  const scoring = fields.text('scoring_func', v2 ? 'softmax' : 'sigmoid');
  const method = fields.text('topk_method', v2 ? 'greedy' : 'noaux_tc');
  const normTopK = fields.flag('norm_topk_prob', !v2);
  const expected = v2 ? 'softmax' : 'sigmoid';
  if (scoring !== expected)
    fields.problems.push(`scoring_func ${expected} for this model_type, got ${show(scoring)}`);
  const methods = v2 ? ['greedy', 'group_limited_greedy'] : ['noaux_tc'];
  if (!methods.includes(method))
    fields.problems.push(`topk_method ${methods.join(' or ')}, got ${show(method)}`);
  if (v2 && normTopK) {
    fields.problems.push(
      'norm_topk_prob false (implementations of V2 disagree on what true means), got true',
    );
  }
  const grouped = method !== 'greedy';
  return {
    expertSize: fields.number('moe_intermediate_size'),
    experts: fields.number('n_routed_experts'),
    topK: fields.number('num_experts_per_tok'),
    sharedExperts: fields.nullable('n_shared_experts', 0) ?? 0,
    groups: grouped ? (fields.nullable('n_group') ?? 1) : 1,
    topGroups: grouped ? (fields.nullable('topk_group') ?? 1) : 1,
    scoring: expected,
    method: method as MoeShape['method'],
    normTopK,
    scalingFactor: fields.number('routed_scaling_factor'),
  };
}

/** config.json for transformers' class of the model: DeepseekV2, DeepseekV3, Llama or Qwen2ForCausalLM. */
export function toHuggingFaceConfig(
  config: ModelConfig,
  dtype: 'float32' | 'bfloat16' = 'bfloat16',
): Record<string, unknown> {
  return isDenseConfig(config) ? fromDense(config, dtype) : fromDeepSeek(config, dtype);
}

function fromDeepSeek(config: DeepSeekConfig, dtype: string): Record<string, unknown> {
  const { moe, yarn, indexer, layerPlan } = config;
  const v2 = config.modelType === 'deepseek_v2';
  const architecture = v2 ? 'DeepseekV2' : indexer ? 'DeepseekV32' : 'DeepseekV3';
  return {
    architectures: [`${architecture}ForCausalLM`],
    model_type: indexer ? 'deepseek_v32' : config.modelType,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numHeads,
    q_lora_rank: config.qLoraRank,
    kv_lora_rank: config.kvLoraRank,
    qk_nope_head_dim: config.qkNopeHeadDim,
    qk_rope_head_dim: config.qkRopeHeadDim,
    v_head_dim: config.vHeadDim,
    attention_bias: config.attentionBias,
    hidden_act: 'silu',
    first_k_dense_replace: moe === null ? config.numLayers : config.firstDenseLayers,
    moe_layer_freq: config.moeLayerFreq,
    ...(moe && {
      n_routed_experts: moe.experts,
      n_shared_experts: moe.sharedExperts,
      num_experts_per_tok: moe.topK,
      moe_intermediate_size: moe.expertSize,
      n_group: moe.groups,
      topk_group: moe.topGroups,
      topk_method: moe.method,
      scoring_func: moe.scoring,
      norm_topk_prob: moe.normTopK,
      routed_scaling_factor: moe.scalingFactor,
    }),
    ...(indexer && {
      index_n_heads: indexer.heads,
      index_head_dim: indexer.headDim,
      index_topk: indexer.topK,
    }),
    ...(layerPlan && {
      layer_types: layerPlan.layerTypes.map((type) => layerTypeNames[type]),
      sliding_window: layerPlan.window,
      attention_sinks: layerPlan.sinks ?? false,
      ...(layerPlan.farBiasLimit !== undefined && { far_bias_limit: layerPlan.farBiasLimit }),
    }),
    num_nextn_predict_layers: config.mtpLayers,
    rms_norm_eps: config.normEps,
    rope_theta: config.ropeTheta,
    rope_scaling: yarn && yarnFields(yarn),
    ...(!v2 && { rope_interleave: config.ropeLayout === 'interleaved' }),
    ...fromCommon(config, dtype),
  };
}

/** Fields that transformers insists on as floats: whole numbers are written with a decimal point. */
const floatFields =
  /"(rms_norm_eps|initializer_range|rope_theta|routed_scaling_factor|factor|mscale|mscale_all_dim|attention_factor|low_freq_factor|high_freq_factor)": (-?\d+)(?=[,\n])/g;

/**
 * The text of config.json: `toHuggingFaceConfig` as JSON that transformers' strict types accept.
 * @param further fields beyond those of transformers
 */
export function huggingFaceConfigText(
  config: ModelConfig,
  dtype: 'float32' | 'bfloat16' = 'bfloat16',
  further: Readonly<Record<string, unknown>> = {},
): string {
  const fields = { ...toHuggingFaceConfig(config, dtype), ...further };
  return `${JSON.stringify(fields, null, 2).replace(floatFields, '"$1": $2.0')}\n`;
}
