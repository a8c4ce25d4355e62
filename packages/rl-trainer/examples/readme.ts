import { auto } from '@minke/gpu-backends';
import { TaskStream } from '@minke/reasoning-tasks';
import { defaultSft, defaultSftLearner, LocalLearner, TaskSource, trainSft } from '@minke/rl-trainer';
import { Arena } from '@minke/tensor';
import { deepseekR1Template, deepseekSpecialTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { DeepSeekModel, parseConfig } from '@minke/transformer';

const specialTokens = deepseekSpecialTokens;
const tokenizer = trainBpe(['What is 0 + 0? The answer is 0.'], { vocabSize: 300, specialTokens });
const shape = {
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  q_lora_rank: 16,
  kv_lora_rank: 16,
};
const heads = {
  qk_nope_head_dim: 8,
  qk_rope_head_dim: 8,
  v_head_dim: 8,
  intermediate_size: 64,
  initializer_range: 0.1,
};
const experts = {
  n_routed_experts: 4,
  num_experts_per_tok: 2,
  moe_intermediate_size: 16,
  n_shared_experts: 1,
};
const groups = {
  first_k_dense_replace: 1,
  n_group: 1,
  topk_group: 1,
  routed_scaling_factor: 2.5,
  vocab_size: tokenizer.vocabSize,
};
const config = parseConfig({ model_type: 'deepseek_v3', ...shape, ...heads, ...experts, ...groups });
const arena = new Arena(await auto(), { persistent: true });
const model = DeepSeekModel.init(config, { arena, seed: 0 });

const tasks = new TaskStream({ seed: 0, weights: { chain_sum: 1 }, levels: [1, 0, 0] });
const source = new TaskSource(tasks, tokenizer, deepseekR1Template);
const last = await trainSft({
  learner: new LocalLearner(model, defaultSftLearner),
  source,
  config: { ...defaultSft, steps: 40, tokensPerStep: 512, learningRate: 5e-3 },
  folder: `run-${process.pid}`, // checkpoints and metrics.jsonl; a killed run continues from here
});
console.log(
  `loss ${last.loss.toFixed(3)} after ${last.num_tokens} tokens, MaxVio ${last.max_vio.toFixed(2)}`,
);
