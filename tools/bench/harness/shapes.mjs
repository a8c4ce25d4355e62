// Shapes of one mixture-of-experts layer and of one attention layer, for the op benchmarks: those of the two models
// of train-step, and DeepSeek-V2-Lite's with few tokens (arXiv 2405.04434, appendix B).

import { models } from './models.mjs';

/** @param {Record<string, number>} config config.json of a model */
function expertsOf(config, tokens) {
  return {
    tokens,
    hiddenSize: config.hidden_size,
    experts: config.n_routed_experts,
    topK: config.num_experts_per_tok,
    expertSize: config.moe_intermediate_size,
    sharedExperts: config.n_shared_experts,
  };
}

/** Training: `batch` causal sequences of `length`. Decode: `sequences` rows, `context` cached tokens each. */
function attentionOf(config, { batch, length, sequences, context }) {
  return {
    batch,
    length,
    sequences,
    context,
    heads: config.num_attention_heads,
    keyWidth: config.qk_nope_head_dim + config.qk_rope_head_dim,
    valueWidth: config.v_head_dim,
    latent: config.kv_lora_rank,
    ropeWidth: config.qk_rope_head_dim,
  };
}

const v2Lite = {
  hidden_size: 2048,
  n_routed_experts: 64,
  num_experts_per_tok: 6,
  moe_intermediate_size: 1408,
  n_shared_experts: 2,
  num_attention_heads: 16,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  kv_lora_rank: 512,
};
const training = { batch: 16, length: 128, sequences: 64, context: 176 };

export const expertShapes = {
  '5m': expertsOf(models['5m'], 2048),
  '30m': expertsOf(models['30m'], 2048),
  'v2-lite': expertsOf(v2Lite, 128),
};

export const attentionShapes = {
  '5m': attentionOf(models['5m'], training),
  '30m': attentionOf(models['30m'], training),
  'v2-lite': attentionOf(v2Lite, { batch: 1, length: 1024, sequences: 16, context: 1024 }),
};

/** Forward FLOPs of a layer of experts, the gate included. */
export function expertFlops({ tokens, hiddenSize, experts, topK, expertSize, sharedExperts }) {
  return 2 * tokens * hiddenSize * (3 * expertSize * (topK + sharedExperts) + experts);
}

/** Forward FLOPs of causal attention in the expanded form. */
export function causalFlops({ batch, length, heads, keyWidth, valueWidth }) {
  return batch * length * (length + 1) * heads * (keyWidth + valueWidth);
}

/** FLOPs of one decode step of all sequences in the absorbed form. */
export function absorbedFlops({ sequences, context, heads, latent, ropeWidth }) {
  return 2 * sequences * context * heads * (2 * latent + ropeWidth);
}
