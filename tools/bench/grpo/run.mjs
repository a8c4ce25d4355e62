// `pnpm bench grpo [--quick] [--only PATTERN]`: one step of GRPO, 16 prompts of 32 tokens, 8 samples of exactly 64 new
// tokens each, then one update by AdamW with clipping, beside TRL's GRPOTrainer on the CPU with the same weights
// (transformers' DeepseekV3ForCausalLM). Samples and updates are counted as sampled tokens a second, all of the step's
// time included. No reference model, as is TRL's default. Mean log-probabilities of the prompts must agree to 1e-3.
// TRL updates the larger model in four pieces of 32 samples by gradient accumulation, which its memory asks for; with
// `--quick` that model has 4 prompts, one piece, because a run of 16 beside TRL took more than four minutes.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare } from '../harness/compare.mjs';
import { forwardFlops, models, tokenIds, trainingFlops } from '../harness/models.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { pytorchWays, startPytorch } from '../harness/pytorch.mjs';
import { writeRandomModel } from '../harness/random-model.mjs';
import { Report } from '../harness/report.mjs';
import { startNode } from '../harness/side.mjs';

const [promptLength, groupSize, newTokens] = [32, 8, 64];
const promptsOf = { '1m': 16, '30m': quick ? 4 : 16 };
const threads = 2;
/** What TRL's update is cut into. */
const pieces = { '1m': 1, '30m': quick ? 1 : 4 };
const configs = {
  /** The smallest model at a smaller width: 0.8M parameters are active. */
  '1m': {
    ...models['5m'],
    ...{ hidden_size: 128, intermediate_size: 384, num_hidden_layers: 4, moe_intermediate_size: 96 },
    ...{ num_attention_heads: 4, num_key_value_heads: 4, q_lora_rank: 64, kv_lora_rank: 48 },
  },
  '30m': models['30m'],
};
const plan = { rounds: quick ? 2 : 5, roundSeconds: 0.5, budgetSeconds: quick ? 30 : 90, warmSeconds: 1 };

const report = new Report('grpo', [threads]);
const folder = mkdtempSync(join(tmpdir(), 'minke-bench-grpo-'));
try {
  for (const model of Object.keys(configs)) await benchModel(model);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
report.finish();

async function benchModel(model) {
  const caseName = (way) => `${model} trl${way} ${threads}t`;
  const ways = pytorchWays.filter((way) => wanted(caseName(way)));
  if (ways.length === 0) return;
  const wish = { ...(await writeModel(model)), threads, groupSize, newTokens, pieces: pieces[model] };
  const settings = { learningRate: 1e-4, aggregation: 'grpo' };
  // One step of the larger model takes TRL half a minute or more: its variant is chosen by one prompt's samples.
  if (model === '30m') wish.choosing = { prompts: wish.prompts.slice(0, 1), pieces: 1, calls: 1 };
  const starts = { ours: () => startNode(new URL('ours.mjs', import.meta.url), { ...wish, ...settings }) };
  for (const way of ways) starts[way] = () => startPytorch('trl_grpo', way, { ...wish, ...settings });
  const { ours, ...peers } = await compare(starts, plan);
  for (const way of ways) {
    const [name, peer] = [caseName(way), peers[way]];
    const work = promptsOf[model] * groupSize * newTokens;
    report.addRates({
      ...{
        name,
        unit: 'tokens/s',
        work,
        flops: flopsOfStep(configs[model], promptsOf[model]),
        threads,
        ours,
        peer,
      },
    });
    report.addMemory(`${name} memory`, ours, peer);
  }
}

/** A checkpoint with random weights, and the prompts. */
async function writeModel(model) {
  const path = join(folder, model);
  await writeRandomModel(configs[model], path);
  // The first ids are the peer's special tokens.
  const prompts = tokenIds(configs[model].vocab_size - 3, promptsOf[model], promptLength).map((row) =>
    row.map((id) => id + 3),
  );
  return { folder: path, prompts };
}

/** Each prompt once, every new token but the last once, and a training step over all of it. */
function flopsOfStep(config, promptCount) {
  const [samples, length] = [promptCount * groupSize, promptLength + newTokens];
  let flops = trainingFlops(config, samples, length);
  for (let keys = 1; keys < length; keys++)
    flops += (keys <= promptLength ? promptCount : samples) * forwardFlops(config, keys);
  return flops;
}
