// Our side of a rollout: the engine, all requests at once. On request it also reports how many bytes of distinct
// weights a step touches: after the first batch, one forward pass over what was generated tells which experts each token chose.

import { Engine } from '../../../packages/inference/dist/index.js';
import { Arena } from '../../../packages/tensor/dist/index.js';
import { DeepSeekModel, loadModel, parseConfig } from '../../../packages/transformer/dist/index.js';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';

const { threads, folder, config, prompts, newTokens, countExperts, packWeights } = readCase();
const backend = await nativeBackend(threads);
const arena = new Arena(backend, { persistent: true, label: 'model' });
const model = folder
  ? await loadModel(folder, { backend, arena })
  : DeepSeekModel.init(parseConfig(config), { arena, seed: 0 });
const contextLength = Math.max(...prompts.map((prompt) => prompt.length)) + newTokens;
const engine = new Engine(model, { maxSequences: prompts.length, contextLength, packWeights });
const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0 };
let seed = 0;

/** Exactly `newTokens` for every prompt. */
function rollout() {
  const one = async (promptIds) => {
    const request = { promptIds, maxNewTokens: newTokens, sampling, seed: seed++, stopTokenIds: [] };
    const tokens = [];
    for await (const { token } of engine.generate(request)) tokens.push(token);
    if (tokens.length !== newTokens) throw new Error(`expected ${newTokens} tokens, got ${tokens.length}`);
    return tokens;
  };
  return Promise.all(prompts.map(one));
}

/** Mean over decode steps of the bytes of weights that all sequences' tokens are multiplied by. */
function touchedBytes(generated) {
  const step = new Arena(backend);
  const sequences = prompts.map((prompt, i) => [...prompt, ...generated[i]]);
  const { routings } = model.forward(model.batch(step, sequences), { outputs: 'last' });
  const chosen = routings.map(({ indices }) => indices.readSync());
  step.dispose();
  const parameters = [...model.parameters()];
  const bytesOf = (expert) =>
    4 * parameters.filter(([, p]) => (p.rank === 3) === expert).reduce((sum, [, p]) => sum + p.size, 0);
  const embedding = 4 * model.config.vocabSize * model.config.hiddenSize;
  if (chosen.length === 0) return bytesOf(false) - embedding;
  const { experts, topK } = model.config.moe;
  const length = prompts[0].length + newTokens;
  let distinct = 0;
  for (const indices of chosen)
    for (let t = prompts[0].length; t < length; t++) {
      const seen = new Set();
      for (let s = 0; s < sequences.length; s++)
        for (let k = 0; k < topK; k++) seen.add(indices[(s * length + t) * topK + k]);
      distinct += seen.size;
    }
  const share = distinct / (chosen.length * newTokens * experts);
  return bytesOf(false) - embedding + share * bytesOf(true);
}

const generated = await rollout();
const details = countExperts ? { touchedBytes: touchedBytes(generated) } : {};
await serve({ name: packWeights ? 'minke, packed weights' : 'minke', details, call: rollout });
