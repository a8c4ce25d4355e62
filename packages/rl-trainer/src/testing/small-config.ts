/** The shape of the models in tests: V3's, of a few thousand parameters. It needs no test runner. */
import { type DeepSeekConfig, parseConfig } from '@minke/transformer';

/** Dense and expert layer, 24 ids. */
export const smallConfig: DeepSeekConfig = parseConfig({
  model_type: 'deepseek_v3',
  vocab_size: 24,
  hidden_size: 16,
  num_hidden_layers: 2,
  first_k_dense_replace: 1,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  q_lora_rank: 8,
  kv_lora_rank: 8,
  qk_nope_head_dim: 4,
  qk_rope_head_dim: 4,
  v_head_dim: 4,
  intermediate_size: 24,
  moe_intermediate_size: 8,
  n_routed_experts: 4,
  num_experts_per_tok: 2,
  n_shared_experts: 1,
  n_group: 1,
  topk_group: 1,
  routed_scaling_factor: 2.5,
  norm_topk_prob: true,
  initializer_range: 0.2,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  max_position_embeddings: 64,
  tie_word_embeddings: false,
}) as DeepSeekConfig;
