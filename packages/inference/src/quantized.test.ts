// Engines that compute from weights of 8 and 4 bits.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { withoutOps } from '@minke/gpu-backends/testing';
import { Arena } from '@minke/tensor';
import {
  DeepSeekModel,
  loadModel,
  loadTransformer,
  MergingTransformer,
  quantizeModel,
  saveModel,
  type TransformerModel,
} from '@minke/transformer';
import { afterAll, expect, it } from 'vitest';
import { Engine, type EngineOptions } from './engine.ts';
import { testConfig } from './testing/test-language.ts';
import { logitsOfThree, sameInBatchAndAlone, sameInPieces } from './testing/three-prompts.ts';

const config = {
  ...testConfig(128),
  ...{ hiddenSize: 64, intermediateSize: 96, qLoraRank: 32, kvLoraRank: 32, vHeadDim: 16, initStd: 0.1 },
};
const moe = { ...config.moe!, expertSize: 32 };
const backend = nativeAvailable().available ? await createNative({ threads: 2 }) : await createWasm();
const arena = new Arena(backend, { persistent: true });
const model = DeepSeekModel.init({ ...config, moe }, { arena, seed: 3 });
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

const logits = (options: Pick<EngineOptions, 'quantize' | 'packWeights'>, of: TransformerModel = model) =>
  logitsOfThree(of, options);

it('stays near the exact logits, nearer with 8 bits than with 4', async () => {
  const exact = await logits({});
  const size = Math.sqrt(exact.reduce((sum, x) => sum + x * x, 0));
  const errors = [];
  for (const quantize of ['q8_0', 'q4_0'] as const) {
    const rounded = await logits({ quantize });
    errors.push(Math.sqrt(exact.reduce((sum, x, i) => sum + (x - (rounded[i] as number)) ** 2, 0)) / size);
  }
  const [eight, four] = errors as [number, number];
  expect(eight).toBeGreaterThan(0);
  expect(eight).toBeLessThan(0.03);
  expect(four).toBeGreaterThan(2 * eight);
  expect(four).toBeLessThan(0.4);
});

it.each(['q8_0', 'q4_0'] as const)(
  'with %s gives a request the same in a batch as alone',
  async (quantize) => {
    const engine = newEngine({ quantize });
    expect(engine.packedBytes).toBeGreaterThan(0);
    await sameInBatchAndAlone(engine);
  },
);

it.each(['q8_0', 'q4_0'] as const)('with %s computes a prompt in pieces as at once', (quantize) =>
  sameInPieces(model, { quantize }),
);

it.each(['q8_0', 'q4_0'] as const)(
  'has the logits of a quantised folder in %s, and of a model that was rounded as it was read, bit for bit',
  async (quantize) => {
    const folder = await mkdtemp(join(tmpdir(), 'minke-quantized-'));
    await saveModel(model, join(folder, 'model'), { dtype: 'f32' });
    await quantizeModel(join(folder, 'model'), join(folder, 'blocks'), { backend, type: quantize });
    const wanted = await logits({ quantize });
    const blocks = await loadModel(join(folder, 'blocks'), { backend });
    expect(await logits({}, blocks)).toEqual(wanted);
    // What is left in f32 may be packed, and asking again changes nothing.
    expect(await logits({ packWeights: true }, blocks)).toEqual(wanted);
    expect(await logits({ quantize }, blocks)).toEqual(wanted);
    const rounded = await loadModel(join(folder, 'model'), { backend, quantize });
    expect(await logits({}, rounded)).toEqual(wanted);
    await rm(folder, { recursive: true });
  },
);

it('has the logits of an engine that rounds where a model that merges is rounded as it is read', async () => {
  const inner = DeepSeekModel.init({ ...config, moe, numLayers: 3 }, { arena, seed: 5 });
  const merging = MergingTransformer.init(inner, { preLayers: 1, postLayers: 1 }, { arena });
  const folder = await mkdtemp(join(tmpdir(), 'minke-merging-'));
  await saveModel(merging, folder, { dtype: 'f32' });
  const wanted = await logits({ quantize: 'q4_0' }, merging);
  expect(await logits({}, await loadTransformer(folder, { backend, quantize: 'q4_0' }))).toEqual(wanted);
  await expect(quantizeModel(folder, join(folder, 'x'), { backend, type: 'q4_0' })).rejects.toThrow(
    'does not merge tokens',
  );
  await rm(folder, { recursive: true });
});

it('takes less memory than packed weights as they are', () => {
  const bytes = ([{ packWeights: true }, { quantize: 'q8_0' }, { quantize: 'q4_0' }] as const).map(
    (options) => newEngine(options).packedBytes,
  );
  expect(bytes[1]).toBeLessThan(0.3 * bytes[0]!);
  expect(bytes[2]).toBeLessThan(0.17 * bytes[0]!);
});

it('is refused where the backend has no such products', () => {
  const plain = withoutOps(backend, 'matmulQuantized');
  const own = DeepSeekModel.init(config, { arena: new Arena(plain, { persistent: true }), seed: 3 });
  expect(() => new Engine(own, { contextLength: 8, quantize: 'q4_0' })).toThrow(/products of q4_0 weights/);
});
