// Engines on models that merge tokens in their middle layers.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { Arena, logSoftmax } from '@minke/tensor';
import { deepseekR1Template } from '@minke/tokenizer-merging/chat';
import { DeepSeekModel, MergingTransformer } from '@minke/transformer';
import { afterAll, describe, expect, it } from 'vitest';
import { complete } from './chat.ts';
import { Engine, type EngineOptions, type GenerationRequest } from './engine.ts';
import { loadAnyLanguageModel, loadLanguageModel } from './language-model.ts';
import { ModelStep } from './model-step.ts';
import { argmax } from './sampling.ts';
import { saveLanguageModel } from './save-language-model.ts';
import { testConfig, testTokenizer } from './testing/test-language.ts';

const V = 120;
const backend = nativeAvailable().available ? await createNative({ threads: 2 }) : await createWasm();
const arena = new Arena(backend, { persistent: true });
const inner = DeepSeekModel.init({ ...testConfig(V), numLayers: 4 }, { arena, seed: 3 });
const model = MergingTransformer.init(
  inner,
  { preLayers: 1, postLayers: 1, maxRun: 4, convKernel: 4, offsets: true },
  { arena },
);
// Projections of the router that disagree, so that some tokens merge and some do not.
const random = new Random(5);
for (const weight of model.mergingParameters().values())
  weight.write(Float32Array.from({ length: weight.size }, () => 0.3 * random.normal()));

const prompts = [0, 1, 2].map((salt) =>
  Array.from({ length: 9 + 4 * salt }, (_, i) => (7 + 31 * i + 17 * salt) % V),
);
const greedy = { temperature: 0, topP: 1, topK: 0, minP: 0 };

const engines: Engine[] = [];
function newEngine(options: EngineOptions = {}): Engine {
  const engine = new Engine(model, { maxSequences: 4, contextLength: 64, ...options });
  engines.push(engine);
  return engine;
}
afterAll(async () => {
  for (const engine of engines) await engine.dispose();
  backend.dispose();
});

const request = (promptIds: readonly number[], values: Partial<GenerationRequest> = {}) => ({
  ...{ promptIds, maxNewTokens: 14, sampling: greedy, seed: 0, stopTokenIds: [] },
  ...values,
});

/** Log-probabilities after each token of a text, from a pass over all of it, [T][V]; and entries made. */
async function wholePass(ids: readonly number[]) {
  using step = new Arena(backend);
  const { logits, plan } = await model.forward(model.batch(step, [[...ids]]), { form: 'expanded' });
  const all = logSoftmax(logits).readSync();
  return {
    entries: plan.size.length,
    rows: ids.map((_, i) => Float32Array.from(all.subarray(i * V, (i + 1) * V))),
  };
}

describe('an engine on a model that merges', () => {
  it('generates from the folder that it was saved to', async () => {
    const tokenizer = testTokenizer();
    const config = { ...testConfig(tokenizer.vocabSize), numLayers: 3 };
    const merging = MergingTransformer.init(
      DeepSeekModel.init(config, { arena, seed: 4 }),
      { preLayers: 1, postLayers: 1, maxRun: 4 },
      { arena },
    );
    const format = { tokenizer, template: deepseekR1Template, stopTokenIds: [1], sampling: greedy };
    const folder = await mkdtemp(join(tmpdir(), 'minke-merging-'));
    try {
      await saveLanguageModel({ model: merging, ...format }, folder, { dtype: 'f32' });
      const loaded = await loadAnyLanguageModel(folder, { backend });
      const texts = await Promise.all(
        [merging, loaded.model].map(async (model) => {
          const engine = new Engine(model, { maxSequences: 1, contextLength: 64 });
          engines.push(engine);
          return complete(engine, loaded, [{ role: 'user', content: 'What is 12 + 34?' }]);
        }),
      );
      expect(texts[1]).toEqual(texts[0]);
      expect(texts[1]?.tokens).toBeGreaterThan(1);
      await expect(loadLanguageModel(folder, { backend })).rejects.toMatchObject({ code: 'unsupported' });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('generates what whole passes say, several sequences at a time, prompts in pieces', async () => {
    const engine = newEngine({ form: 'expanded', promptChunk: 5 });
    const answers = await Promise.all(prompts.map((prompt) => engine.generate(request(prompt)).rest()));
    for (const [p, events] of answers.entries()) {
      const prompt = prompts[p] as number[];
      const tokens = events.map(({ token }) => token);
      const { rows, entries } = await wholePass([...prompt, ...tokens]);
      expect(entries).toBeGreaterThan(1);
      expect(entries).toBeLessThan(rows.length - 3);
      const said = tokens.map((_, n) => argmax(rows[prompt.length - 1 + n] as Float32Array));
      expect(tokens).toEqual(said);
    }
  });

  it('reports the log-probabilities of a whole pass, bit for bit, for a group that shares its prompt', async () => {
    const engine = newEngine({ form: 'expanded', temperedLogProbs: true });
    const sampling = { ...greedy, temperature: 1 };
    const prompt = prompts[1] as number[];
    const group = [1, 2, 3, 4].map((seed) => engine.generate(request(prompt, { sampling, seed })).rest());
    const samples = await Promise.all(group);
    expect(new Set(samples.map((events) => events.map(({ token }) => token).join())).size).toBeGreaterThan(1);
    for (const events of samples) {
      const tokens = events.map(({ token }) => token);
      const { rows } = await wholePass([...prompt, ...tokens]);
      const exact = tokens.map((token, n) => rows[prompt.length - 1 + n]![token]);
      expect(events.map(({ logProb }) => logProb)).toEqual(exact);
    }
  });

  it('gives a request the same in a batch as alone, by token role', async () => {
    const engine = newEngine();
    const together = await Promise.all(prompts.map((prompt) => engine.generate(request(prompt)).rest()));
    for (const [p, prompt] of prompts.entries())
      expect(await engine.generate(request(prompt)).rest()).toEqual(together[p]);
    expect(engine.load).toEqual({ running: 0, waiting: 0 });
  });

  it('takes a failed pass back, and goes on as if it had not been', async () => {
    const step = new ModelStep(model, { slots: 2, maxTokens: 32, maxChunk: 8 });
    const prompt = Int32Array.from(prompts[0] as number[]).subarray(0, 8);
    const next = [{ slot: 0, ids: Int32Array.of(5, 6, 7), role: 'prompt' as const }];
    await step.run([{ slot: 0, ids: prompt, role: 'prompt' }]);
    const { forward } = model;
    let passes = 0;
    model.forward = async (...args) => {
      await forward.apply(model, args);
      passes++;
      throw new Error('the device is gone');
    };
    await expect(step.run(next)).rejects.toThrow('the device is gone');
    model.forward = forward;
    expect([passes, step.length(0)]).toEqual([1, 8]);
    const after = await step.run(next);
    await step.run([{ slot: 1, ids: prompt, role: 'prompt' }]);
    expect(await step.run([{ ...next[0]!, slot: 1 }])).toEqual(after);
    step.dispose();
  });
});
