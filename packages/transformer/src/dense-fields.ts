/**
 * config.json of dense Llama and Qwen2 models, both ways, as transformers' LlamaConfig and Qwen2Config read it.
 *
 * Settings that would change the model and are not implemented (biases of Llama's projections, sliding windows, other
 * rotary scalings) are reported, fields without effect ignored: published Qwen2 files name a window that is switched off.
 */
import { fromCommon, parseCommon } from './common-config.ts';
import type { Fields } from './config-fields.ts';
import type { DenseConfig } from './dense-config.ts';
import { llama3Fields, ropeOf, yarnFields } from './rope-fields.ts';
import { show } from './show.ts';

/** Our configuration; what is wrong is in `fields.problems`. */
export function parseDense(fields: Fields, modelType: DenseConfig['modelType']): DenseConfig {
  const qwen = modelType === 'qwen2';
  const maxPositions = fields.number('max_position_embeddings', qwen ? 32768 : 2048);
  const rope = ropeOf(fields, maxPositions, ['default', 'llama3', 'yarn']);
  const [hiddenSize, numHeads] = [fields.number('hidden_size'), fields.number('num_attention_heads')];
  fields.only('hidden_act', 'silu');
  fields.only('mlp_bias', false);
  if (!qwen) fields.only('attention_bias', false);
  fields.only('use_sliding_window', false);
  const types = fields.raw('layer_types') ?? [];
  if (![types].flat().every((type) => type === 'full_attention'))
    fields.problems.push(`layer_types full_attention in every layer, got ${show(types)}`);
  return {
    modelType,
    vocabSize: fields.number('vocab_size'),
    hiddenSize,
    intermediateSize: fields.number('intermediate_size'),
    numLayers: fields.number('num_hidden_layers'),
    numHeads,
    numKeyValueHeads: fields.nullable('num_key_value_heads', null) ?? numHeads,
    headDim: fields.nullable('head_dim', null) ?? hiddenSize / numHeads,
    qkvBias: qwen,
    normEps: fields.number('rms_norm_eps', 1e-6),
    ...rope,
    ...parseCommon(fields, maxPositions),
    moe: null,
    mtpLayers: 0,
  };
}

/** config.json for LlamaForCausalLM or Qwen2ForCausalLM. */
export function fromDense(config: DenseConfig, dtype: string): Record<string, unknown> {
  const { modelType, llama3, yarn } = config;
  const qwen = modelType === 'qwen2';
  return {
    architectures: [qwen ? 'Qwen2ForCausalLM' : 'LlamaForCausalLM'],
    model_type: modelType,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKeyValueHeads,
    head_dim: config.headDim,
    hidden_act: 'silu',
    ...(qwen ? { use_sliding_window: false } : { attention_bias: false, mlp_bias: false }),
    rms_norm_eps: config.normEps,
    rope_theta: config.ropeTheta,
    rope_scaling: llama3 ? llama3Fields(llama3) : yarn && yarnFields(yarn),
    ...fromCommon(config, dtype),
  };
}
