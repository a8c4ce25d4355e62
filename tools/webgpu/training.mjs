// Five optimiser steps of a small V3-shaped model from one seed: the losses and gradient norms of WebGPU beside
// those of the reference.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBackend } from '../../packages/gpu-backends/dist/index.js';
import { TaskStream } from '../../packages/reasoning-tasks/dist/index.js';
import {
  defaultSft,
  defaultSftLearner,
  LocalLearner,
  TaskSource,
  trainSft,
} from '../../packages/rl-trainer/dist/index.js';
import { Arena } from '../../packages/tensor/dist/index.js';
import {
  deepseekR1Template,
  deepseekSpecialTokens,
} from '../../packages/tokenizer-merging/dist/chat/index.js';
import { trainBpe } from '../../packages/tokenizer-merging/dist/tokenizer/index.js';
import { DeepSeekModel, parseConfig } from '../../packages/transformer/dist/index.js';

const tolerance = 1e-4; // relative: rounding errors of five steps, each amplified by the one before
const compared = ['loss', 'grad_norm'];

const tokenizer = trainBpe(['What is 0 + 0? The answer is 0.'], {
  vocabSize: 300,
  specialTokens: deepseekSpecialTokens,
});
const config = parseConfig({
  model_type: 'deepseek_v3',
  vocab_size: tokenizer.vocabSize,
  hidden_size: 32,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  q_lora_rank: 16,
  kv_lora_rank: 16,
  qk_nope_head_dim: 8,
  qk_rope_head_dim: 8,
  v_head_dim: 8,
  intermediate_size: 64,
  initializer_range: 0.1,
  n_routed_experts: 8,
  num_experts_per_tok: 2,
  moe_intermediate_size: 16,
  n_shared_experts: 1,
  first_k_dense_replace: 1,
  n_group: 2,
  topk_group: 1,
  routed_scaling_factor: 2.5,
});

/** The metrics of each step. */
async function train(name) {
  const folder = mkdtempSync(join(tmpdir(), 'minke-webgpu-'));
  const backend = await createBackend(name);
  try {
    const arena = new Arena(backend, { persistent: true });
    const model = DeepSeekModel.init(config, { arena, seed: 0 });
    const tasks = new TaskStream({ seed: 0, weights: { chain_sum: 1 }, levels: [1, 0, 0] });
    await trainSft({
      learner: new LocalLearner(model, defaultSftLearner),
      source: new TaskSource(tasks, tokenizer, deepseekR1Template),
      config: { ...defaultSft, steps: 5, tokensPerStep: 384, learningRate: 5e-3 },
      folder,
    });
    const lines = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n');
    return lines.map((line) => JSON.parse(line));
  } finally {
    backend.dispose();
    rmSync(folder, { recursive: true });
  }
}

const [want, got] = [await train('reference'), await train('webgpu')];
let passed = 0;
let failed = 0;
const check = (right, text) => {
  console.log(`${right ? 'ok' : 'FAILED'}: ${text}`);
  if (right) passed++;
  else failed++;
};
for (const [i, metrics] of want.entries()) {
  for (const key of compared) {
    const difference = Math.abs(got[i]?.[key] - metrics[key]) / Math.abs(metrics[key]);
    check(
      difference <= tolerance,
      `step ${i + 1} ${key} ${metrics[key]}, WebGPU off by ${difference.toExponential(1)}`,
    );
  }
}
check(want.length === 5 && want[4].loss < want[0].loss, 'five steps, and the loss falls');
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
