// The tiny GPT from the operations of @minke/tensor, and the fused attention of @minke/mla-attention.

import { attention, packSequences } from '../../../packages/mla-attention/dist/index.js';
import {
  AdamW,
  Arena,
  add,
  crossEntropy,
  gatherRows,
  matmul,
  mean,
  relu,
  rmsNorm,
} from '../../../packages/tensor/dist/index.js';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';
import { adam, initialWeights, normEpsilon, sizes, tokens } from './gpt-model.mjs';
import { trainingStep } from './our-step.mjs';

const { layers, width, heads, length, batch } = sizes;
const backend = await nativeBackend(readCase().threads);
const persistent = new Arena(backend, { persistent: true, label: 'gpt' });
const weights = new Map(
  Object.entries(initialWeights()).map(([name, { data, shape }]) => [
    name,
    persistent.parameter(data, shape),
  ]),
);
const optimizer = new AdamW(weights, {
  lr: adam.learningRate,
  beta1: adam.beta1,
  beta2: adam.beta2,
  eps: adam.epsilon,
});
const get = (name) => weights.get(name);
const { ids, targets } = tokens();

function logits(arena, rows, positions, ranges) {
  let x = add(
    gatherRows(arena.adopt(get('embedding')), rows),
    gatherRows(arena.adopt(get('positions')), positions),
  );
  for (let layer = 0; layer < layers; layer++) {
    const weight = (name) => get(`${layer}.${name}`);
    const normed = rmsNorm(x, weight('norm1'), normEpsilon);
    const [q, k, v] = ['query', 'key', 'value'].map((name) =>
      matmul(normed, weight(name)).reshape([batch * length, heads, width / heads]),
    );
    const o = attention(q, k, v, ranges, { scale: (width / heads) ** -0.5 });
    x = add(x, matmul(o.reshape([batch * length, width]), weight('output')));
    const hidden = relu(matmul(rmsNorm(x, weight('norm2'), normEpsilon), weight('up')));
    x = add(x, matmul(hidden, weight('down')));
  }
  return matmul(rmsNorm(x, get('norm'), normEpsilon), get('head'));
}

const step = trainingStep(backend, optimizer, (arena) => {
  const { positions, ranges } = packSequences(arena, new Array(batch).fill(length));
  const upload = (numbers) => arena.tensor(numbers, [numbers.length], 'i32');
  return mean(crossEntropy(logits(arena, upload(ids), positions, ranges), upload(targets)));
});

await serve({ name: 'minke', check: [step()], call: step });
