// The models that benchmarks measure, and the arithmetic they need, counted once and here.
//
// A multiply-add is two FLOPs. Counted are matrix products (attention's two included, over the keys a causal query
// sees, in the expanded form) and nothing else: no norms, softmax, routing, optimiser. A backward pass is two forward
// passes: a gradient by each factor of every product. What an implementation computes again does not count.

import { parameterShapes, parseConfig } from '../../../packages/transformer/dist/index.js';

/** 4.6M parameters: the first model that this repository published. */
const small = {
  model_type: 'deepseek_v3',
  vocab_size: 512,
  hidden_size: 192,
  intermediate_size: 512,
  num_hidden_layers: 6,
  num_attention_heads: 6,
  num_key_value_heads: 6,
  q_lora_rank: 96,
  kv_lora_rank: 64,
  qk_nope_head_dim: 32,
  qk_rope_head_dim: 16,
  v_head_dim: 32,
  attention_bias: false,
  hidden_act: 'silu',
  first_k_dense_replace: 1,
  moe_layer_freq: 1,
  n_routed_experts: 8,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
  moe_intermediate_size: 128,
  n_group: 1,
  topk_group: 1,
  topk_method: 'noaux_tc',
  scoring_func: 'sigmoid',
  norm_topk_prob: true,
  routed_scaling_factor: 2.5,
  num_nextn_predict_layers: 0,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  rope_scaling: null,
  rope_interleave: true,
  max_position_embeddings: 512,
  initializer_range: 0.04,
  tie_word_embeddings: false,
  bos_token_id: 0,
  eos_token_id: 1,
  pad_token_id: 2,
};

/** config.json of each model. */
export const models = {
  '5m': small,
  '30m': {
    ...small,
    vocab_size: 8192,
    hidden_size: 384,
    intermediate_size: 1024,
    num_hidden_layers: 8,
    num_attention_heads: 6,
    num_key_value_heads: 6,
    q_lora_rank: 192,
    kv_lora_rank: 128,
    qk_nope_head_dim: 64,
    qk_rope_head_dim: 32,
    v_head_dim: 64,
    n_routed_experts: 8,
    num_experts_per_tok: 2,
    moe_intermediate_size: 256,
  },
};

/** Forward FLOPs of a token that attends to `keys` keys, itself included. */
export function forwardFlops(hfConfig, keys) {
  const { qk_nope_head_dim: nope, qk_rope_head_dim: rope, v_head_dim: value } = hfConfig;
  const perKey = 2 * hfConfig.num_hidden_layers * hfConfig.num_attention_heads * (nope + rope + value);
  return 2 * multipliedWeights(hfConfig) + perKey * keys;
}

/** FLOPs of a training step, forward and backward, over `sequences` causal sequences of `length` tokens. */
export function trainingFlops(hfConfig, sequences, length) {
  return 3 * sequences * length * forwardFlops(hfConfig, (length + 1) / 2);
}

/** Weights that a token is multiplied by: of routed experts, those it chooses. */
function multipliedWeights(hfConfig) {
  const config = parseConfig(hfConfig);
  let sum = 0;
  for (const [name, shape] of parameterShapes(config)) {
    const size = shape.reduce((product, n) => product * n, 1);
    if (shape.length === 3) sum += (size / config.moe.experts) * config.moe.topK;
    else if (shape.length === 2 && name !== 'model.embed_tokens.weight') sum += size;
  }
  return sum;
}

/** Token ids that both sides compute with: every sequence different, the same in every run. */
export function tokenIds(vocabulary, sequences, length) {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabulary);
  };
  return Array.from({ length: sequences }, () => Array.from({ length }, next));
}
