/**
 * Bit for bit: what a sequence's logits are does not depend on the batch, on how a prompt is cut, or on the number of
 * threads; gradients do not depend on the number of threads. Sizes are odd, so that every kernel has edges.
 */
import { type Backend, Random } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { deepseekV3Gate } from '@minke/moe-router';
import { Arena, affine, crossEntropy, sum } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { type DeepSeekConfig, DeepSeekModel, presets } from './index.ts';

const config: DeepSeekConfig = {
  ...presets['DeepSeek-V3'],
  vocabSize: 131,
  hiddenSize: 75,
  intermediateSize: 148,
  numLayers: 3,
  numHeads: 3,
  qLoraRank: 41,
  kvLoraRank: 37,
  qkNopeHeadDim: 20,
  qkRopeHeadDim: 8,
  vHeadDim: 17,
  moe: { ...deepseekV3Gate, expertSize: 45, experts: 16, topK: 3, groups: 4, topGroups: 2 },
  firstDenseLayers: 1,
  mtpLayers: 0,
  yarn: null,
  maxPositions: 320,
  initStd: 0.2,
  bosTokenId: 0,
  eosTokenIds: [1],
};
const lengths = [1, 40, 7, 129, 18, 300];
const random = new Random(5);
const sequences = lengths.map((length) =>
  Array.from({ length }, () => Math.floor(random.uniform() * config.vocabSize)),
);

const native = nativeAvailable().available;
if (!native) console.warn('threads not tested: the native add-on is not built');

const modelOn = (backend: Backend) =>
  DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 3 });
const logitsOf = (model: DeepSeekModel, batch: readonly (readonly number[])[]): Float32Array => {
  using arena = new Arena(model.backend);
  return model.forward(model.batch(arena, batch)).logits.readSync() as Float32Array;
};

describe.each([
  ['wasm', createWasm],
  ...(native ? ([['native', () => createNative({ threads: 2 })]] as const) : []),
] as const)('on %s', (_, create) => {
  it('a sequence has the same logits alone as in a batch', async () => {
    const model = modelOn(await create());
    const together = logitsOf(model, sequences);
    let row = 0;
    for (const sequence of sequences) {
      const end = row + sequence.length;
      const part = together.subarray(row * config.vocabSize, end * config.vocabSize);
      expect(logitsOf(model, [sequence])).toEqual(part);
      row = end;
    }
    model.backend.dispose();
  });

  it.each([
    ['expanded', 64],
    ['expanded', 1],
    ['absorbed', 64],
    ['absorbed', 1],
  ] as const)('a prompt has the same logits in the %s form in pieces of %i as in one', async (form, size) => {
    const model = modelOn(await create());
    const prompt = sequences.at(-1) as number[];
    const inPieces = (length: number): number[] => {
      using cache = model.createCache({ maxTokens: prompt.length, form });
      using arena = new Arena(model.backend);
      const logits: number[] = [];
      for (let start = 0; start < prompt.length; start += length) {
        const ids = prompt.slice(start, start + length);
        const piece = cache.append(arena, [{ sequence: 0, count: ids.length, role: 'prompt' }]);
        const batch = { ids: arena.tensor(ids, [ids.length], 'i32'), ...piece };
        logits.push(...model.forward(batch, { cache, form }).logits.readSync());
        arena.reset();
      }
      return logits;
    };
    const whole = inPieces(prompt.length);
    expect(inPieces(size)).toEqual(whole);
    if (form === 'expanded') expect(Float32Array.from(whole)).toEqual(logitsOf(model, [prompt]));
    model.backend.dispose();
  });
});

it('loss and every gradient have the same bits on 1, 2 and 3 threads', async () => {
  const results: Map<string, Float32Array>[] = [];
  for (const threads of native ? [1, 2, 3] : []) {
    const model = modelOn(await createNative({ threads }));
    using arena = new Arena(model.backend, { grad: true });
    const targets = arena.tensor(sequences.flat(), [sequences.flat().length], 'i32');
    const { logits } = model.forward(model.batch(arena, sequences));
    const loss = affine(sum(crossEntropy(logits, targets)), 1 / targets.size, 0);
    loss.backward();
    const result = new Map([['loss', loss.readSync() as Float32Array]]);
    for (const [name, { grad }] of model.parameters())
      if (grad) result.set(name, grad.readSync() as Float32Array);
    results.push(result);
    arena.dispose();
    model.backend.dispose();
  }
  for (const result of results) {
    expect(result.size).toBe(results[0]!.size);
    for (const [name, values] of result) expect(values, name).toEqual(results[0]!.get(name));
  }
});
