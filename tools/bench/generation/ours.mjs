// Our side of the generation benchmarks: a GGUF file through `loadModel`, and the step that the engine runs again and
// again, with its draw of the next token (greedy; what is fed back is random, so that experts change).

import { ModelStep } from '../../../packages/inference/dist/index.js';
import { loadModel } from '../../../packages/transformer/dist/index.js';
import { backendOf, readCase, serve } from '../harness/serve.mjs';
import { mostSteps, probeIds, randomIds } from './tokens.mjs';

const { file, phase, tokens, batch, build, threads, quantize, cacheType, chunk, probe } = readCase();
const backend = await backendOf({ build, threads });
const model = await loadModel(file, { backend, quantize });
const { vocabSize } = model.config;
/** Slot 0 holds a prompt; decoding goes on with copies of it. */
const decoding = phase === 'decode';
const step = new ModelStep(model, {
  slots: decoding ? batch + 1 : 1,
  maxTokens: tokens + (decoding ? mostSteps + 2 : 0),
  maxChunk: chunk,
  quantize,
  cacheType,
});
const next = randomIds(vocabSize);
const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0 };
const drawAfter = (chunks) =>
  chunks.map((_, i) => ({ chunk: i, sampling: greedy, random: { seed: 0, stream: 0, position: 0 } }));

async function prompt() {
  step.clear(0);
  for (let done = 0; done < tokens; ) {
    const ids = next(Math.min(chunk, tokens - done));
    done += ids.length;
    const chunks = [{ slot: 0, ids, role: 'prompt' }];
    await step.draw(chunks, done === tokens ? drawAfter(chunks) : []);
  }
}

async function decode() {
  const chunks = [];
  for (let slot = 1; slot <= batch; slot++) chunks.push({ slot, ids: next(1), role: 'generated' });
  await step.draw(chunks, drawAfter(chunks));
}

async function measure(calls) {
  let seconds = 0;
  for (let i = 0; i < calls; i++) {
    if (decoding && i % mostSteps === 0) {
      for (let slot = 1; slot <= batch; slot++) step.share(0, slot);
      await decode();
    }
    const start = performance.now();
    await (decoding ? decode() : prompt());
    seconds += (performance.now() - start) / 1000;
  }
  return seconds;
}

const logits = await step.run([{ slot: 0, ids: probeIds(probe), role: 'prompt' }]);
const details = { threads, logits: Array.from(logits.subarray(0, 1024)) };
if (decoding) await prompt();
await serve({ name: `minke ${build ?? 'native'} ${quantize}, cache ${cacheType}`, details, measure });
