import type { Backend } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { Engine } from '@minke/inference';
import { afterAll, describe, expect, it } from 'vitest';
import { LocalSampler } from './local-sampler.ts';
import { bandit } from './testing/bandit.ts';

const backends: Readonly<Record<string, Backend>> = {
  cpu: await (nativeAvailable().available ? createNative({ threads: 2 }) : createWasm()),
  reference: createReference({ bits: 32 }),
};
afterAll(() => {
  for (const backend of Object.values(backends)) backend.dispose();
});

const prompts = [[1, 4, 5, 6, 2, 2, 7, 8, 9, 3, 11, 5, 2], [1, 3], [1, 9, 9, 2, 14], [7]];
const request = { prompts, maxNewTokens: 24, topP: 1, topK: 0, stopTokenIds: [0], seed: 7 };

describe.each(Object.keys(backends))('on %s, log-probabilities of the sampler', (name) => {
  it.each([
    { temperature: 1, samplesPerPrompt: 1, maxSequences: 4, promptChunk: 256 },
    { temperature: 1, samplesPerPrompt: 8, maxSequences: 64, promptChunk: 256 },
    { temperature: 0.7, samplesPerPrompt: 8, maxSequences: 5, promptChunk: 3 },
    { temperature: 0.7, samplesPerPrompt: 16, maxSequences: 64, promptChunk: 256 },
    { temperature: 1.3, samplesPerPrompt: 3, maxSequences: 1, promptChunk: 256 },
  ])('are the bits of the learner, %o', async ({ temperature, samplesPerPrompt, ...sizes }) => {
    const { learner, model } = await bandit(backends[name] as Backend);
    const engine = new Engine(model, {
      ...{ ...sizes, contextLength: 40, form: 'expanded', temperedLogProbs: true },
    });
    const sampler = new LocalSampler(engine);
    for (let step = 0; step < 2; step++) {
      const samples = await sampler.sample({ ...request, temperature, samplesPerPrompt, seed: step });
      const sequences = samples.map(({ prompt, tokens }) => ({
        tokens: [...(prompts[prompt] as number[]), ...tokens],
        completionStart: (prompts[prompt] as number[]).length,
        advantages: tokens.map((_, t) => t - 3),
      }));
      const own = samples.map(({ logProbs }) => logProbs);
      expect(await learner.forward(sequences, { temperature })).toEqual(own);
      expect(await learner.forward(sequences.slice(0, 1), { temperature })).toEqual(own.slice(0, 1));
      const tokens = own.flat().length;
      const totals = { sequences: sequences.length, tokens };
      const result = await learner.forwardBackward(sequences, { name: 'cross_entropy' }, totals);
      if (temperature === 1) expect(result.logProbs).toEqual(own);
      await learner.optimStep({ learningRate: 1e-2 }); // the next round is of other weights
    }
    await engine.dispose();
  });
});

it('refuses an engine whose log-probabilities are at another temperature', async () => {
  const { model } = await bandit(backends.reference as Backend);
  const engine = new Engine(model, { maxSequences: 1, contextLength: 8 });
  expect(() => new LocalSampler(engine)).toThrow(/temperedLogProbs: true/);
  await engine.dispose();
});

it('ends the samples it has begun when a later prompt is refused', async () => {
  const { model } = await bandit(backends.cpu as Backend);
  const options = { maxSequences: 4, contextLength: 16, form: 'expanded', temperedLogProbs: true } as const;
  const engine = new Engine(model, options);
  const refused = { ...request, prompts: [[1, 3], Array.from({ length: 20 }, () => 2)], temperature: 1 };
  const sampler = new LocalSampler(engine);
  await expect(sampler.sample({ ...refused, samplesPerPrompt: 8 })).rejects.toMatchObject({
    code: 'context-overflow',
  });
  expect(engine.load).toEqual({ running: 0, waiting: 0 });
  await engine.dispose();
});

it('stops at a text, with the token that completes it, and cuts nothing before', async () => {
  const { model } = await bandit(backends.cpu as Backend);
  const engine = new Engine(model, {
    ...{ maxSequences: 64, contextLength: 40, form: 'expanded', temperedLogProbs: true },
  });
  const letters = 'abcdefghijklmnopqrstuvwxyz';
  const decode = (tokens: readonly number[]) => tokens.map((id) => letters[id]).join('');
  const sampler = new LocalSampler(engine, { decode });
  const free = { ...request, samplesPerPrompt: 8, temperature: 1 };
  const stop = ['b', 'cd', 'ce'];
  const whole = await sampler.sample(free);
  const cut = await sampler.sample({ ...free, stop, maxNewTokensOf: [24, 24, 5, 24] });
  let stopped = 0;
  for (const [i, { tokens, finish, prompt }] of cut.entries()) {
    const text = decode(whole[i]?.tokens ?? []).slice(0, prompt === 2 ? 5 : 24);
    const ends = stop.flatMap((each) => (text.includes(each) ? text.indexOf(each) + each.length : []));
    expect(decode(tokens)).toBe(text.slice(0, Math.min(...ends, text.length)));
    if (ends.length > 0) stopped++;
    if (ends.length > 0) expect(finish).toBe('stop');
  }
  expect(stopped).toBeGreaterThan(5);
  await expect(new LocalSampler(engine).sample({ ...free, stop })).rejects.toThrow(
    'make the sampler with { decode }',
  );
  await expect(sampler.sample({ ...free, stop: [''] })).rejects.toThrow('one character or more');
  await expect(sampler.sample({ ...free, maxNewTokensOf: [1] })).rejects.toThrow('for 4 prompts, got 1');
  await engine.dispose();
});
