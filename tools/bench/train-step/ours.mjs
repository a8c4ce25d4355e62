// Our side of a training step: forward, cross-entropy, backward, AdamW with clipping, and the loss read back.

import { AdamW, Arena, affine, crossEntropy, sum } from '../../../packages/tensor/dist/index.js';
import { loadModel } from '../../../packages/transformer/dist/index.js';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';
import { trainingStep } from './our-step.mjs';

const { threads, folder, ids, targets, learningRate } = readCase();
const backend = await nativeBackend(threads);
const model = await loadModel(folder, {
  backend,
  arena: new Arena(backend, { persistent: true, label: 'model' }),
});
const trained = new Map([...model.parameters()].filter(([, parameter]) => parameter.leaf));
const optimizer = new AdamW(trained, { lr: learningRate, maxGradNorm: 1 });

const step = trainingStep(backend, optimizer, (arena) => {
  const batch = model.batch(arena, ids);
  const { logits } = model.forward(batch);
  const next = arena.tensor(targets.flat(), [targets.flat().length], 'i32');
  return affine(sum(crossEntropy(logits, next)), 1 / next.size, 0);
});

await serve({ name: 'minke', check: [step()], call: step });
