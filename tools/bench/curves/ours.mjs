// The curves' side: one prompt that grows from call to call, and the steps of the engine behind it. A call is the number
// of tokens that the prompt then has; what comes back is the seconds of all of it so far, and of a step behind it.

import { ModelStep } from '../../../packages/inference/dist/index.js';
import { loadModel } from '../../../packages/transformer/dist/index.js';
import { randomIds } from '../generation/tokens.mjs';
import { median } from '../harness/numbers.mjs';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';

/** Steps before any is timed (the first one makes the plan), and timed ones. */
const [untimed, timed] = [3, 24];
/** How often more a prompt of one piece is timed. */
const repeats = 6;

const { file, quantize, threads, chunk, maxTokens } = readCase();
const backend = await nativeBackend(threads);
const model = await loadModel(file, { backend, quantize });
const step = new ModelStep(model, { slots: 2, maxTokens, maxChunk: chunk, quantize });
const next = randomIds(model.config.vocabSize);
const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0 };
const draws = [{ chunk: 0, sampling, random: { seed: 0, stream: 0, position: 0 } }];

async function timedStep(slot, ids, role, drawn) {
  const start = performance.now();
  await step.draw([{ slot, ids, role }], drawn);
  return (performance.now() - start) / 1000;
}

let [length, prefillSeconds] = [0, 0];
async function grow(tokens) {
  const short = [];
  for (let i = 0; length === 0 && i < 1 + (tokens === chunk ? repeats : 0); i++) {
    const seconds = await timedStep(0, next(chunk), 'prompt', draws);
    step.clear(0);
    if (i > 0) short.push(seconds);
  }
  for (; length < tokens; length += chunk)
    prefillSeconds += await timedStep(0, next(chunk), 'prompt', length + chunk === tokens ? draws : []);
  if (short.length > 0) prefillSeconds = median([...short, prefillSeconds]);
  step.share(0, 1);
  const times = [];
  for (let i = 0; i < untimed + timed; i++) times.push(await timedStep(1, next(1), 'generated', draws));
  step.clear(1);
  const decodeSeconds = median(times.slice(untimed));
  return { seconds: prefillSeconds, prefillSeconds, decodeSeconds };
}

await serve({ name: `minke ${quantize}`, details: { config: model.config }, measure: grow });
