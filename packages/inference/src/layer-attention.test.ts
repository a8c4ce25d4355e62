// Engines on models whose layers look differently far, or at what an indexer selects.
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { Arena } from '@minke/tensor';
import { type DeepSeekConfig, DeepSeekModel } from '@minke/transformer';
import { expect, it } from 'vitest';
import { Engine } from './engine.ts';
import { argmax } from './sampling.ts';
import { testConfig } from './testing/test-language.ts';

const base = { ...testConfig(120), numLayers: 3 };
const configs: [string, DeepSeekConfig][] = [
  ['a layer plan', { ...base, layerPlan: { layerTypes: ['local', 'hybrid', 'global'], window: 6 } }],
  ['an indexer', { ...base, indexer: { heads: 2, headDim: 6, topK: 5 } }],
];
const prompts = [0, 1, 2].map((salt) =>
  Array.from({ length: 9 + 4 * salt }, (_, i) => (7 + 31 * i + 17 * salt) % 120),
);

/** The most probable next tokens, each from a pass over everything before it. */
function greedily(model: DeepSeekModel, prompt: readonly number[], count: number): number[] {
  const ids = [...prompt];
  for (let n = 0; n < count; n++) {
    using arena = new Arena(model.backend);
    const { logits } = model.forward(model.batch(arena, [ids]), { outputs: 'last' });
    ids.push(argmax(Float32Array.from(logits.readSync())));
  }
  return ids.slice(prompt.length);
}

it.each(configs)('with %s generate what whole passes say, several sequences at a time', async (_, config) => {
  const backend = nativeAvailable().available ? await createNative({ threads: 2 }) : await createWasm();
  const model = DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 3 });
  const engine = new Engine(model, { maxSequences: 3, contextLength: 64 });
  const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0 };
  const answers = prompts.map(async (promptIds) => {
    const tokens: number[] = [];
    const request = { promptIds, maxNewTokens: 14, sampling, seed: 0, stopTokenIds: [] };
    for await (const { token } of engine.generate(request)) tokens.push(token);
    return tokens;
  });
  expect(await Promise.all(answers)).toEqual(prompts.map((prompt) => greedily(model, prompt, 14)));
  await engine.dispose();
  backend.dispose();
});
