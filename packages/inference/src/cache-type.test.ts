// Engines that keep past tokens in bf16 or in blocks of 8 bits.
import type { Backend } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { Arena } from '@minke/tensor';
import { DeepSeekModel } from '@minke/transformer';
import { afterAll, expect, it } from 'vitest';
import { Engine, type EngineOptions } from './engine.ts';
import { ModelStep } from './model-step.ts';
import { testConfig } from './testing/test-language.ts';
import { logitsOfThree, threePrompts as prompts } from './testing/three-prompts.ts';

const config = { ...testConfig(128), kvLoraRank: 32, qkRopeHeadDim: 20, initStd: 0.1 };
const backend = nativeAvailable().available ? await createNative({ threads: 2 }) : await createWasm();
const model = DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 3 });
const rounded = ['bf16', 'q8_0'] as const;
const engines: Engine[] = [];
function newEngine(options: EngineOptions): Engine {
  const engine = new Engine(model, { maxSequences: 3, contextLength: 64, ...options });
  engines.push(engine);
  return engine;
}
afterAll(async () => {
  for (const engine of engines) await engine.dispose();
  backend.dispose();
});
const sampling = { temperature: 1, topP: 0.95, topK: 0, minP: 0 };
const request = { maxNewTokens: 14, sampling, seed: 4, stopTokenIds: [] };

const logits = (cacheType: EngineOptions['cacheType']) => logitsOfThree(model, { cacheType });

it('stays near the exact logits', async () => {
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

it('takes less memory, to the byte', () => {
  const { numLayers } = config;
  for (const [cacheType, row] of [
    ['f32', 208],
    ['bf16', 104],
    ['q8_0', 68],
  ] as const)
    expect(newEngine({ cacheType }).cacheBytes).toBe(numLayers * 3 * 64 * row);
});

it.each(rounded)(
  'with %s gives a request the same in a batch as alone, and in a group',
  async (cacheType) => {
    const engine = newEngine({ cacheType });
    const together = await Promise.all(
      prompts.map((promptIds) => engine.generate({ ...request, promptIds }).rest()),
    );
    for (const [p, promptIds] of prompts.entries())
      expect(await engine.generate({ ...request, promptIds }).rest()).toEqual(together[p]);
    const promptIds = prompts[1]!;
    const group = await Promise.all([1, 2, 3].map(() => engine.generate({ ...request, promptIds }).rest()));
    for (const one of group) expect(one).toEqual(together[1]);
  },
);

it.each(rounded)('with %s computes a prompt in pieces as at once', async (cacheType) => {
  const step = new ModelStep(model, { slots: 2, maxTokens: 32, cacheType });
  const ids = Int32Array.from(prompts[2]!);
  const chunk = (slot: number, start: number, end: number) =>
    step.run([{ slot, ids: ids.subarray(start, end), role: 'prompt' }]);
  const whole = await chunk(0, 0, ids.length);
  await chunk(1, 0, 5);
  await chunk(1, 5, 6);
  expect(await chunk(1, 6, ids.length)).toEqual(whole);
  step.dispose();
});

it('says what cannot be, with nothing held', () => {
  const own = createReference();
  const create = (of: DeepSeekModel, options: EngineOptions) => () =>
    new Engine(of, { contextLength: 8, ...options });
  const modelOn = (on: Backend) =>
    DeepSeekModel.init(config, { arena: new Arena(on, { persistent: true }), seed: 3 });
  const whole = modelOn(own);
  const before = own.memoryUse().bytes;
  expect(create(whole, { cacheType: 'bf16', form: 'expanded' })).toThrow(/f32 for keys and values/);
  expect(create(whole, { cacheType: 'q4_0' as 'q8_0' })).toThrow(/cacheType of f32, bf16, q8_0, got q4_0/);
  expect(own.memoryUse().bytes).toBe(before);
  const lacking = modelOn(withoutOps(createReference(), 'latentAttentionRounded'));
  expect(create(lacking, { cacheType: 'bf16' })).toThrowError(
    expect.objectContaining({ code: 'unsupported' }),
  );
});
