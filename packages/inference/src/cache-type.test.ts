// Engines that keep past tokens in bf16 or in blocks of 8 bits.
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { Arena } from '@minke/tensor';
import { DeepSeekModel, type ModelConfig } from '@minke/transformer';
import { afterAll, describe, expect, it } from 'vitest';
import { Engine, type EngineOptions } from './engine.ts';
import { testConfig } from './testing/test-language.ts';
import {
  drawn,
  logitsOfThree,
  threePrompts as prompts,
  sameInBatchAndAlone,
  sameInPieces,
} from './testing/three-prompts.ts';

const config = { ...testConfig(128), kvLoraRank: 32, qkRopeHeadDim: 20, initStd: 0.1 };
const backend = nativeAvailable().available ? await createNative({ threads: 2 }) : await createWasm();
const modelOf = (config: ModelConfig, on = backend) =>
  DeepSeekModel.init(config, { arena: new Arena(on, { persistent: true }), seed: 3 });
const dense: ModelConfig = {
  ...{ modelType: 'llama', vocabSize: 128, hiddenSize: 24, intermediateSize: 40, numLayers: 2 },
  ...{ numHeads: 6, numKeyValueHeads: 2, headDim: 20, qkvBias: false, normEps: 1e-6, ropeTheta: 10_000 },
  ...{ llama3: null, yarn: null, maxPositions: 160, initStd: 0.1, tieEmbeddings: false },
  ...{ bosTokenId: 0, eosTokenIds: [1], padTokenId: 2, moe: null, mtpLayers: 0 },
};
const rounded = ['bf16', 'q8_0'] as const;
const engines: Engine[] = [];
afterAll(async () => {
  for (const engine of engines) await engine.dispose();
  backend.dispose();
});

/** What keeps past tokens, with the bytes of a token and layer in each type. */
const kept = {
  latents: { model: modelOf(config), pinned: {}, bytes: { f32: 208, bf16: 104, q8_0: 68 } },
  'keys and values of a dense model': {
    ...{ model: modelOf(dense), pinned: {}, bytes: { f32: 320, bf16: 160, q8_0: 136 } },
  },
  'keys and values of the pinned expanded form': {
    model: modelOf(config),
    pinned: { form: 'expanded' } as const,
    bytes: { f32: 256, bf16: 128, q8_0: 102 },
  },
};

describe.each(Object.entries(kept))('%s', (_, { model, pinned, bytes }) => {
  const logits = (cacheType: EngineOptions['cacheType']) => logitsOfThree(model, { cacheType, ...pinned });
  function newEngine(options: EngineOptions): Engine {
    const engine = new Engine(model, { maxSequences: 3, contextLength: 64, ...pinned, ...options });
    engines.push(engine);
    return engine;
  }

  it('give logits near the exact ones', async () => {
    const exact = await logits('f32');
    expect(exact).toEqual(await logits(undefined));
    const size = Math.hypot(...exact);
    for (const cacheType of rounded) {
      const got = await logits(cacheType);
      const error = Math.hypot(...exact.map((x, i) => x - (got[i] as number))) / size;
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThan(0.01);
    }
  });

  it('take less memory, to the byte', () => {
    for (const cacheType of ['f32', ...rounded] as const)
      expect(newEngine({ cacheType }).cacheBytes).toBe(model.config.numLayers * 3 * 64 * bytes[cacheType]);
  });

  it.each(rounded)('in %s give a request the same in a batch as alone, and in a group', async (cacheType) => {
    const engine = newEngine({ cacheType });
    const together = await sameInBatchAndAlone(engine);
    const promptIds = prompts[1]!;
    const group = await Promise.all([1, 2, 3].map(() => engine.generate({ ...drawn, promptIds }).rest()));
    for (const one of group) expect(one).toEqual(together[1]);
  });

  it.each(rounded)('in %s come of a prompt in pieces as of one at once', (cacheType) =>
    sameInPieces(model, { cacheType, ...pinned }),
  );
});

it('says what cannot be, with nothing held', () => {
  const own = createReference();
  const create = (of: DeepSeekModel, options: EngineOptions) => () =>
    new Engine(of, { contextLength: 8, ...options });
  const whole = modelOf(config, own);
  const plan = { layerTypes: ['local', 'global'] as const, window: 4 };
  const planned = modelOf({ ...config, layerPlan: plan } as ModelConfig, own);
  const held = own.memoryUse().bytes;
  expect(create(planned, { cacheType: 'bf16' })).toThrow(
    /expected cacheType f32 for latents with a layer plan/,
  );
  expect(create(whole, { cacheType: 'q4_0' as 'q8_0' })).toThrow(/cacheType of f32, bf16, q8_0, got q4_0/);
  expect(own.memoryUse().bytes).toBe(held);
  for (const [of, op] of [
    [config, 'latentAttentionRounded'],
    [dense, 'attentionRounded'],
  ] as const)
    expect(create(modelOf(of, withoutOps(createReference(), op)), { cacheType: 'bf16' })).toThrowError(
      expect.objectContaining({ code: 'unsupported' }),
    );
});
