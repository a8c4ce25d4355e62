// Greedy completions of prompts by a model of this process, with or without merging.

import { defaultSampling, Engine } from '../../packages/inference/dist/index.js';

/**
 * @param {object} model a `DeepSeekModel` or a `MergingTransformer`
 * @param {readonly (readonly number[])[]} prompts ids
 * @param {{ maxTokens: number, end: number }} limits of prompt and completion together, and the id that ends it
 * @returns {Promise<number[][]>} ids of the completions, without the end
 */
export async function greedy(model, prompts, { maxTokens, end }) {
  const engine = new Engine(model, {
    ...{ maxSequences: prompts.length, maxWaiting: prompts.length, contextLength: maxTokens },
    form: 'expanded',
  });
  const sampling = { ...defaultSampling, temperature: 0 };
  const streams = prompts.map((promptIds) =>
    engine.generate({ promptIds, maxNewTokens: maxTokens, sampling, seed: 0, stopTokenIds: [end] }),
  );
  const events = await Promise.all(streams.map((stream) => stream.rest()));
  await engine.dispose();
  return events.map((own) => own.map(({ token }) => token).filter((token) => token !== end));
}
