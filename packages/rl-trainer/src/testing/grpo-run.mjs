// For the test of killed runs: a short run of `trainGrpo` from the built packages, in the folder given. Generated
// tasks, two updates a rollout, a reference that is refreshed; a checkpoint every few steps. The second argument says
// what is trained, and how, with `+` between: a `model` by GRPO with refills, an adapter (`lora`) by the same, or a model
// by `ppo`, whose critic warms up first, or by `remax`; with completions of several turns, in an `environment` that
// counts vowels; with sampling in a thread, up to three steps `ahead`.

import { join } from 'node:path';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { saveLanguageModel } from '@minke/inference';
import { TaskStream } from '@minke/reasoning-tasks';
import {
  constantAfter,
  ExportingLearner,
  environmentReward,
  formatReward,
  localPolicy,
  presets,
  tagCountReward,
  taskPrompts,
  trainGrpo,
  WorkerSampler,
} from '@minke/rl-trainer';
import { Arena } from '@minke/tensor';
import { deepseekR1Template, deepseekSpecialTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { createLora, DeepSeekModel, parseConfig } from '@minke/transformer';

const [folder, what] = process.argv.slice(2);
const kinds = new Set(what.split('+'));
const sizes = {
  'r1-zero': { groupSize: 4, promptsPerStep: 2, maxRefills: 1 },
  ppo: { promptsPerStep: 8, critic: { learningRate: 1e-2, epsilon: 0.5, warmupSteps: 6 } },
};
const preset = kinds.has('ppo') ? 'ppo' : 'r1-zero';
const backend = await (nativeAvailable().available
  ? createNative({ threads: 1 })
  : createWasm({ threads: 1 }));
const tokenizer = trainBpe(['What is 0 + 0? The answer is 0.'], {
  vocabSize: 300,
  specialTokens: deepseekSpecialTokens,
});
const config = parseConfig({
  model_type: 'deepseek_v3',
  ...{ hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, q_lora_rank: 8, kv_lora_rank: 8 },
  ...{
    qk_nope_head_dim: 4,
    qk_rope_head_dim: 4,
    v_head_dim: 4,
    intermediate_size: 24,
    initializer_range: 0.2,
  },
  ...{ n_routed_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 8, n_shared_experts: 1 },
  ...{ first_k_dense_replace: 1, n_group: 1, topk_group: 1, routed_scaling_factor: 2.5 },
  ...{ vocab_size: tokenizer.vocabSize, max_position_embeddings: 128 },
});
const base = DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 0 });
const model = kinds.has('lora')
  ? base.withLora(createLora(base, { r: 4, alpha: 8, targets: ['all-linear'] }))
  : base;
const language = {
  ...{ model, tokenizer, template: deepseekR1Template, stopTokenIds: [1] },
  sampling: { temperature: 1, topP: 1, topK: 0, minP: 0 },
};
const local = await localPolicy(language, {
  ...{ contextLength: 128, maxSequences: 32, critic: preset === 'ppo' },
});

/** Answers every vowel with how many there were. */
function vowels() {
  let count = 0;
  return {
    stop: [...'aeiou'],
    step: (text) =>
      /[aeiou]/.test(text) ? { reply: ` ${++count}`, done: false } : { reply: null, done: true },
    score: () => ({ score: Math.min(count / 3, 1) }),
  };
}

/** Weights by folders, to a sampler in a thread that computes as this one does. */
function ahead() {
  const write = (to) => saveLanguageModel(language, to, { dtype: 'f32' });
  return {
    learner: new ExportingLearner(local.learner, { folder: join(folder, 'weights'), write, keep: 4 }),
    sampler: new WorkerSampler({
      backend: backend.info.name,
      threads: 1,
      contextLength: 128,
      maxSequences: 32,
    }),
    maxStaleness: 3,
  };
}

const apart = kinds.has('ahead') ? ahead() : undefined;
await trainGrpo({
  ...local,
  ...apart,
  ...(kinds.has('environment') && { environment: { begin: vowels } }),
  prompts: taskPrompts(new TaskStream({ seed: 1, weights: { chain_sum: 1 }, levels: [1, 0, 0] }), language),
  rewards: [
    { name: 'format', reward: formatReward() },
    { name: 'tags', reward: tagCountReward(), weight: 0.5 },
    ...(kinds.has('environment') ? [{ name: 'vowels', reward: environmentReward() }] : []),
  ],
  config: {
    ...presets[preset],
    ...{ ...sizes[preset], minibatches: 2, maxCompletionLength: 12 },
    ...(kinds.has('remax') && { advantage: { name: 'remax' } }),
    ...{ learningRate: 1e-2, schedule: constantAfter(3), referenceEvery: 5 },
  },
  ...{ steps: 24, seed: 5, folder, checkpointEvery: 4, samplesPerRollout: 3 },
});
await apart?.sampler.dispose();
await local.dispose();
backend.dispose();
