// `pnpm bench merging [--quick] [--only PATTERN]`: what half as many entries as tokens save, on a model of the 30M
// model's width with twelve layers, 2 before merging, 8 between and 2 behind, beside the same weights with every token
// in every layer. Tokens a second of the prefill of 1,024 tokens and of decoding behind them, of the middle layers alone
// and of the whole pass (router, merging, inflation and head included). With a batch, entries of half of the sequences
// close at each step; `together`, those of all at every second one. Bytes are of the middle layers' caches, checked
// against the prediction to the byte. Rows `with a convolution` have the one over four tokens, beside merging without.

import { parameterShapes, parseConfig } from '../../../packages/transformer/dist/index.js';
import { compare } from '../harness/compare.mjs';
import { models } from '../harness/models.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { Report } from '../harness/report.mjs';
import { startNode } from '../harness/side.mjs';

const context = 1024;
const steps = 16;
const layout = { preLayers: 2, postLayers: 2 };
const config = { ...models['30m'], num_hidden_layers: 12, max_position_embeddings: 2048 };
const threadCounts = [1, 2];
const plan = { rounds: quick ? 3 : 9, roundSeconds: 0.4, budgetSeconds: quick ? 8 : 30, warmSeconds: 2 };
const cases = [
  { name: 'prefill', phase: 'prefill', batch: 1 },
  { name: 'decode batch 1', phase: 'decode', batch: 1 },
  { name: 'decode batch 8', phase: 'decode', batch: 8 },
  { name: 'decode batch 8 together', phase: 'decode', batch: 8, together: true },
];

const report = new Report('merging', threadCounts);
for (const threads of threadCounts)
  for (const { name, ...wish } of cases) {
    for (const part of ['middle', 'whole pass']) await measure(name, { ...wish, threads, part });
    if (!wish.together) await measureConvolution(name, { ...wish, threads, part: 'whole pass' });
  }
report.finish();

/** One side: the model with settings of merging, or without merging. */
function side(wish, settings) {
  const merges = settings !== undefined;
  const given = { ...wish, config, merges, context, steps, layout: { ...layout, ...settings } };
  return () => startNode(new URL('ours.mjs', import.meta.url), given);
}

function workOf({ phase, batch }) {
  return batch * (phase === 'prefill' ? context : steps);
}

async function measure(title, wish) {
  const { phase, part, batch, threads } = wish;
  const name = `12 layers ${title} ${part} ${threads}t`;
  if (!wanted(name)) return;
  const { merged, plain } = await compare({ merged: side(wish, {}), plain: side(wish) }, plan);
  const prefill = phase === 'prefill';
  const peer = { ...plain, name: 'every token of ours' };
  const flops = prefill && part === 'middle' ? { flops: middleFlops(context / 2) } : {};
  report.addRates({ name, unit: 'tokens/s', work: workOf(wish), threads, ours: merged, peer, ...flops });
  const bytes = merged.details?.bytes;
  if (bytes && !prefill && threads === threadCounts[0]) reportBytes(title, batch, bytes);
}

/** What a convolution over four tokens before the merging costs. */
async function measureConvolution(title, wish) {
  const name = `12 layers ${title} with a convolution ${wish.threads}t`;
  if (!wanted(name)) return;
  const sides = { ours: side(wish, { convKernel: 4 }), without: side(wish, {}) };
  const { ours, without } = await compare(sides, plan);
  const peer = { ...without, name: 'merging without it' };
  report.addRates({ name, unit: 'tokens/s', work: workOf(wish), threads: wish.threads, ours, peer });
}

/** What the middle layers cache for a token, with merging and without. */
function reportBytes(title, batch, { middle }) {
  const tokens = batch * (context + steps + 1);
  const layers = config.num_hidden_layers - layout.preLayers - layout.postLayers;
  const plain = 4 * layers * (config.kv_lora_rank + config.qk_rope_head_dim);
  report.add({
    ...{ case: `12 layers ${title} middle caches`, unit: 'B/token', ours: middle / tokens, peer: plain },
    ...{ peerName: 'every token of ours', ratio: (plain * tokens) / middle, bytes: middle },
  });
}

/** Products of the middle layers over so many causal rows. */
function middleFlops(rows) {
  const { moe, ...shape } = parseConfig(config);
  const last = shape.numLayers - layout.postLayers;
  let weights = 0;
  for (const [name, sizes] of parameterShapes({ ...shape, moe })) {
    const layer = Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1);
    if (layer < layout.preLayers || layer >= last || sizes.length < 2) continue;
    const size = sizes.reduce((a, b) => a * b, 1);
    weights += sizes.length === 3 ? (size / moe.experts) * moe.topK : size;
  }
  const { qkNopeHeadDim, qkRopeHeadDim, vHeadDim, numHeads } = shape;
  const perPair = 2 * numHeads * (qkNopeHeadDim + qkRopeHeadDim + vHeadDim);
  const pairs = (rows * (rows + 1)) / 2;
  return 2 * rows * weights + (last - layout.preLayers) * perPair * pairs;
}
