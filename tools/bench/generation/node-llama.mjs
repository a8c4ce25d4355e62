// node-llama-cpp's side of the generation benchmarks, as its documentation evaluates tokens: greedy sampling runs after
// each step, and its result is replaced by a random token. Several sequences of one context are decoded together.

import { readFileSync } from 'node:fs';
import { readCase, refuse, serve } from '../harness/serve.mjs';
import { mostSteps, randomIds } from './tokens.mjs';

const { file, phase, tokens, batch, threads } = readCase();
const { version } = JSON.parse(readFileSync(new URL('package-lock.json', import.meta.url), 'utf8')).packages[
  'node_modules/node-llama-cpp'
];
const name = `node-llama-cpp ${version}`;
const { getLlama } = await import('node-llama-cpp').catch((error) =>
  refuse(`${name} does not load: ${error.message.split('\n')[0]}`),
);
const llama = await getLlama({
  ...{ gpu: false, build: 'never', skipDownload: true, maxThreads: threads, logLevel: 'error' },
}).catch((error) => refuse(`${name}: ${error.message.split('\n')[0]}`));
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0, ignoreMemorySafetyChecks: true });
const context = await model.createContext({
  ...{ contextSize: Math.ceil((tokens + mostSteps + 2) / 256) * 256, batchSize: 512, sequences: batch },
  ...{ threads, flashAttention: 'auto', ignoreMemorySafetyChecks: true },
});
const sequences = Array.from({ length: batch }, () => context.getSequence());
const next = randomIds(model.fileInfo.metadata.tokenizer.ggml.tokens.length);
const decoding = phase === 'decode';

async function prompt(sequence) {
  await sequence.clearHistory();
  await sequence.evaluateWithoutGeneratingNewTokens(Array.from(next(tokens)));
}

/** A sequence cut back to its prompt, one step into its decoding. */
async function begin(sequence) {
  const { nextTokenIndex } = sequence;
  if (nextTokenIndex > tokens)
    await sequence.eraseContextTokenRanges([{ start: tokens, end: nextTokenIndex }]);
  const steps = sequence.evaluate([next(1)[0]], { temperature: 0, yieldEogToken: true });
  await steps.next();
  return steps;
}

async function measure(calls) {
  let seconds = 0;
  let running = [];
  for (let i = 0; i < calls; i++) {
    if (decoding && i % mostSteps === 0) {
      await Promise.all(running.map((steps) => steps.return()));
      running = await Promise.all(sequences.map(begin));
    }
    const start = performance.now();
    if (decoding) await Promise.all(running.map((steps) => steps.next(next(1)[0])));
    else await prompt(sequences[0]);
    seconds += (performance.now() - start) / 1000;
  }
  await Promise.all(running.map((steps) => steps.return()));
  return seconds;
}

if (decoding) for (const sequence of sequences) await prompt(sequence);
await serve({ name, details: { threads: context.currentThreads }, measure });
