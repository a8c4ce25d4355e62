// `pnpm bench train-step [--quick] [--only PATTERN]`: a training step, forward + backward + AdamW with gradient
// clipping, of 16 sequences of 128 tokens, beside PyTorch; and of a tiny GPT beside jax-js and tfjs.
//
// Peers in PyTorch: Hugging Face's DeepseekV3ForCausalLM (`pytorch-eager`), a model written for speed by hand with
// grouped experts (`pytorch-grouped`: tools/bench/python/grouped_model.py), and that one under torch.compile
// (`pytorch-compile`). Each takes the fastest of its own variants (fused AdamW or not; how experts and attention are
// computed), chosen by measuring first. All start from one checkpoint folder and the same ids; the losses of the first
// step must agree to 1e-3, and the hand-written model's logits with Hugging Face's. FLOPs: harness/models.mjs. Names with
// `-avx512`: harness/pytorch.mjs.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare, ratioOf } from '../harness/compare.mjs';
import { models, tokenIds, trainingFlops } from '../harness/models.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { pytorchWays, startPytorch } from '../harness/pytorch.mjs';
import { writeRandomModel } from '../harness/random-model.mjs';
import { Report } from '../harness/report.mjs';
import { startNode, startPython } from '../harness/side.mjs';
import { benchTinyGpt } from './gpt.mjs';

const sequences = 16;
const length = 128;
const threadCounts = [1, 2];
const modules = ['pytorch-eager', 'pytorch-grouped', 'pytorch-compile'];
const pythonPeers = pytorchWays.flatMap((way) =>
  modules.map((module) => ({ module, way, peer: module + way })),
);
const plan = quick
  ? { rounds: 3, roundSeconds: 0.3, budgetSeconds: 20, warmSeconds: 1 }
  : { rounds: 9, roundSeconds: 0.5, budgetSeconds: 60, warmSeconds: 2 };

const report = new Report('train-step', threadCounts);
const folder = mkdtempSync(join(tmpdir(), 'minke-train-step-'));
try {
  for (const model of Object.keys(models)) await benchModel(model);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
await benchTinyGpt(report, plan, threadCounts);
report.finish();

async function benchModel(model) {
  const caseName = (peer, threads) => `${model} ${peer} ${threads}t`;
  const peersAt = (threads) => pythonPeers.filter(({ peer }) => wanted(caseName(peer, threads)));
  if (threadCounts.every((threads) => peersAt(threads).length === 0)) return;
  const wish = await writeModel(model);
  if (threadCounts.some((threads) => peersAt(threads).some(({ module }) => module !== 'pytorch-eager')))
    await checkLogits(model, wish);
  const results = {};
  for (const threads of threadCounts) {
    const starts = { ours: () => startNode(new URL('ours.mjs', import.meta.url), { ...wish, threads }) };
    for (const { module, way, peer } of peersAt(threads))
      starts[peer] = () => startPytorch(module.replace('-', '_'), way, { ...wish, threads });
    if (Object.keys(starts).length === 1) continue;
    const sides = (results[threads] = await compare(starts, plan));
    for (const { peer } of peersAt(threads))
      report.addRates({
        name: caseName(peer, threads),
        unit: 'tokens/s',
        work: sequences * length,
        flops: trainingFlops(models[model], sequences, length),
        threads,
        ours: sides.ours,
        peer: sides[peer],
      });
    for (const { peer } of peersAt(threads))
      report.addMemory(`${caseName(peer, threads)} memory`, sides.ours, sides[peer]);
  }
  for (const { peer } of pythonPeers) reportScaling(`${model} ${peer} threads 1 to 2`, results, peer);
}

/** A checkpoint with random weights and what all sides compute on it. */
async function writeModel(model) {
  const path = join(folder, model);
  await writeRandomModel(models[model], path);
  const ids = tokenIds(models[model].vocab_size, sequences, length + 1);
  return {
    folder: path,
    ids: ids.map((row) => row.slice(0, -1)),
    targets: ids.map((row) => row.slice(1)),
    learningRate: 1e-4,
  };
}

async function checkLogits(model, wish) {
  const side = await startPython('grouped_agreement', { ...wish, threads: Math.max(...threadCounts) });
  if (side.why) {
    process.stderr.write(`${model}: logits not compared: ${side.why}\n`);
    return;
  }
  await side.end();
  const [difference, largest] = side.check;
  process.stderr.write(
    `${model}: largest logit ${largest.toFixed(2)}, hand-written differs by ${difference}\n`,
  );
  if (!(difference <= 1e-4 * largest))
    throw new Error(
      `bench train-step: the hand-written model's logits differ from Hugging Face's by ${difference}`,
    );
}

/** How much faster two threads are than one; the ratio is of the two speed-ups. */
function reportScaling(name, results, peer) {
  const scaling = (key) =>
    results[1]?.[key] && results[2]?.[key] ? ratioOf(results[2][key], results[1][key]) : null;
  const [ours, theirs] = [scaling('ours'), scaling(peer)];
  if (ours === null || !results[2]?.[peer]) return;
  const { name: peerName, why } = results[2][peer];
  const ratio = theirs === null ? null : ours / theirs;
  report.add({ case: name, unit: 'times', ours, peer: theirs, peerName, ratio, ...(why ? { why } : {}) });
}
