// `pnpm bench rollout [--quick] [--only PATTERN]`: batched sampling of the 4.6M-parameter model with random weights, as
// GRPO samples: 8 groups of 8 sequences, each group with its own prompt of 48 tokens, exactly 128 new tokens a sequence at
// temperature 1, beside `generate` of transformers at the same batch. Tokens a second count new tokens; prompts are
// part of the time.
//
// The rows `experts E` have the same model with E experts of which a token uses 2 as ever: active
// parameters are fixed (but for the gate's rows), so time should be flat as long as the weights touched are in cache.
// They show the time of a decode step and the bytes of distinct weights its tokens are multiplied by. Rows named `packed`,
// here and beside the peer, have an engine that keeps packed forms of its weights (`packWeights`).

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare } from '../harness/compare.mjs';
import { forwardFlops, models, tokenIds } from '../harness/models.mjs';
import { rounded } from '../harness/numbers.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { pytorchWays, startPytorch } from '../harness/pytorch.mjs';
import { writeRandomModel } from '../harness/random-model.mjs';
import { Report } from '../harness/report.mjs';
import { startNode } from '../harness/side.mjs';

const config = models['5m'];
const promptLength = 48;
const newTokens = 128;
const threadCounts = [1, 2];
const expertCounts = [8, 16, 64, 256];
const plan = { rounds: quick ? 3 : 7, roundSeconds: 0.5, budgetSeconds: quick ? 20 : 60, warmSeconds: 2 };
const folder = mkdtempSync(join(tmpdir(), 'minke-rollout-'));
const checkpoint = join(folder, 'model');

const groups = tokenIds(config.vocab_size, 8, promptLength);
const prompts = groups.flatMap((prompt) => new Array(8).fill(prompt));
const report = new Report('rollout', threadCounts);
try {
  await writeRandomModel(config, checkpoint);
  for (const threads of threadCounts)
    for (const packWeights of [false, true]) await benchGenerate(threads, packWeights);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const threads of threadCounts)
  for (const batch of [1, 64])
    for (const packWeights of [false, true]) await benchExperts(batch, threads, packWeights);
report.finish();

async function benchGenerate(threads, packWeights) {
  const kind = packWeights ? ' packed' : '';
  const caseName = (way) => `5m transformers-generate${way}${kind} ${threads}t`;
  const ways = pytorchWays.filter((way) => wanted(caseName(way)));
  if (ways.length === 0) return;
  const wish = { threads, folder: checkpoint, prompts, newTokens, packWeights };
  const starts = { ours: () => startNode(new URL('ours.mjs', import.meta.url), wish) };
  for (const way of ways) starts[way] = () => startPytorch('generate', way, wish);
  const { ours, ...peers } = await compare(starts, plan);
  const work = prompts.length * newTokens;
  const flops = prompts.length * flopsOfSequence(config);
  for (const way of ways) {
    const [name, peer] = [caseName(way), peers[way]];
    report.addRates({ name, unit: 'tokens/s', work, flops, threads, ours, peer });
    report.addMemory(`${name} memory`, ours, peer);
  }
}

/** Prompt and all new tokens but the last, which is sampled and not computed with. */
function flopsOfSequence(model) {
  let flops = 0;
  for (let keys = 1; keys < promptLength + newTokens; keys++) flops += forwardFlops(model, keys);
  return flops;
}

async function benchExperts(batch, threads, packWeights) {
  const kind = packWeights ? ' packed' : '';
  const caseName = (experts) => `experts ${experts} batch ${batch}${kind} ${threads}t`;
  const counts = expertCounts.filter((experts) => wanted(caseName(experts)));
  const starts = {};
  for (const experts of counts) {
    const sized = { ...config, n_routed_experts: experts };
    const wish = { threads, config: sized, newTokens, countExperts: true, packWeights };
    wish.prompts = prompts.slice(0, batch);
    starts[experts] = () => startNode(new URL('ours.mjs', import.meta.url), wish);
  }
  const sides = await compare(starts, plan);
  for (const experts of counts) {
    const { seconds, why, details } = sides[experts];
    if (why) report.add({ case: caseName(experts), unit: 'ms/step', ours: null, peer: null, why });
    else {
      const milliseconds = (seconds / newTokens) * 1000;
      const flat = sides[counts[0]].seconds;
      const megabytes = rounded(details.touchedBytes / 1e6);
      report.add({
        case: caseName(experts),
        unit: 'ms/step',
        ours: milliseconds,
        peer: null,
        shareOfLimit: null,
        touchedMegabytes: megabytes,
        timesFewest: rounded(seconds / flat),
        note: `${megabytes} MB of weights touched a step; ${rounded(seconds / flat)} of the time with ${counts[0]}`,
        why: 'ours only: what changes with the number of experts',
      });
    }
  }
}
