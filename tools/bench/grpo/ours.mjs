// Our side of a GRPO step: `trainGrpo` with the engine as sampler. It is held before each rollout until the next step is
// asked for, so a call is one whole step: sampling, rewards, update, a line of metrics.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../../packages/inference/dist/index.js';
import {
  constantAfter,
  LocalLearner,
  LocalSampler,
  perCompletion,
  presets,
  trainGrpo,
} from '../../../packages/rl-trainer/dist/index.js';
import { Arena } from '../../../packages/tensor/dist/index.js';
import { loadModel } from '../../../packages/transformer/dist/index.js';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';

const { threads, folder, prompts, groupSize, newTokens, learningRate, aggregation } = readCase();
const backend = await nativeBackend(threads);
const arena = new Arena(backend, { persistent: true, label: 'model' });
const model = await loadModel(folder, { backend, arena });
const learner = new LocalLearner(model, { weightDecay: 0, biasUpdateGamma: 0, balanceAlpha: 0 });
const engine = new Engine(model, {
  maxSequences: prompts.length * groupSize,
  maxWaiting: prompts.length * groupSize,
  contextLength: prompts[0].length + newTokens,
  promptChunk: 4096,
  form: 'expanded',
  temperedLogProbs: true,
});
const run = mkdtempSync(join(tmpdir(), 'minke-bench-grpo-'));
process.on('exit', () => rmSync(run, { recursive: true, force: true }));

let arrived;
let open;
const atGate = () =>
  new Promise((resolve) => {
    open = resolve;
    arrived?.();
  });
const sampler = new LocalSampler(engine);
const gated = {
  sample: (request, signal) => sampler.sample(request, signal),
  async update(policy) {
    await atGate();
    return sampler.update(policy);
  },
};
let taken = 0;
const source = {
  next: () => ({ tokens: prompts[taken++ % prompts.length], input: { prompt: '' } }),
  state: () => taken,
  restore: (state) => {
    taken = state;
  },
};
const shareOfEven = perCompletion(({ completion }) => {
  const ids = completion.split(' ').map(Number);
  return ids.filter((id) => id % 2 === 0).length / ids.length;
});

/** One step: opens the gate and waits until the run stands before it again. */
function step() {
  return new Promise((resolve) => {
    arrived = resolve;
    open();
  });
}

const [first] = await learner
  .forward(
    prompts.map((tokens) => ({ tokens, completionStart: 1 })),
    { temperature: 1 },
  )
  .then((rows) => [rows.flat()]);
const atFirst = new Promise((resolve) => {
  arrived = resolve;
});
trainGrpo({
  ...{ sampler: gated, learner, prompts: source, decode: (ids) => ids.join(' '), stopTokenIds: [] },
  rewards: [{ name: 'even', reward: shareOfEven }],
  config: {
    ...presets['r1-zero'],
    objective: { ...presets['r1-zero'].objective, aggregation, beta: 0 },
    ...{ groupSize, promptsPerStep: prompts.length, minibatches: 1, maxCompletionLength: newTokens },
    ...{ learningRate, schedule: constantAfter(0), referenceEvery: 0 },
  },
  ...{ steps: 1e6, seed: 0, folder: run, checkpointEvery: 1e6 },
});
await atFirst;
const check = first.reduce((sum, x) => sum + x, 0) / first.length;
await serve({ name: 'minke', check: [check], call: step });
