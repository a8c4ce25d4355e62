import { execFileSync } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  encodeSafetensors,
  fromFloat32,
  openSafetensors,
  type TensorData,
  writeSafetensors,
} from '@minke/checkpoints';
import { memorySource } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeepSeekModel } from './deepseek.ts';
import { loadModel, publishedWeights, readConfig, saveModel } from './load.ts';
import { presets } from './presets.ts';
import {
  denseFixtureNames,
  distance,
  fastBackend,
  fixtureFolder,
  fixtureNames,
  readExpected,
  sparseFixtureNames,
  tensorsOf,
} from './testing/fixtures.ts';
import { hasPython } from './testing/python.ts';

const backend = createReference();
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'minke-load-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function loadTensors(name: string, tensors: Map<string, TensorData>): Promise<DeepSeekModel> {
  const weights = await openSafetensors(memorySource(await encodeSafetensors(tensors)));
  return loadModel({ config: await readConfig(fixtureFolder(name)), weights }, { backend });
}

function logitsOf(model: DeepSeekModel): ArrayLike<number> {
  using arena = new Arena(backend);
  return model.forward(model.batch(arena, [[5, 9, 2, 71]])).logits.readSync();
}

describe('a saved model', () => {
  it.each([...fixtureNames, 'mtp-v3'])('of %s in f32 equals its source, tensor by tensor', async (name) => {
    const model = await loadModel(fixtureFolder(name), { backend });
    const out = join(folder, name);
    await saveModel(model, out, { dtype: 'f32' });
    const [source, copy] = await Promise.all(
      [fixtureFolder(name), out].map((path) => openSafetensors(`${path}/model.safetensors`)),
    );
    expect([...copy!.tensors.keys()].sort()).toEqual([...source!.tensors.keys()].sort());
    for (const key of source!.tensors.keys()) {
      expect(copy!.tensors.get(key)!.shape).toEqual(source!.tensors.get(key)!.shape);
      expect(Buffer.compare(await copy!.read(key), await source!.read(key)), key).toBe(0);
    }
    await Promise.all([source!.close(), copy!.close()]);
    expect(await readConfig(out)).toEqual(model.config);
  });

  it('in bf16 is rounded once, in shards too, but for the correction bias', async () => {
    const model = await loadModel(fixtureFolder('v3-base'), { backend });
    const out = join(folder, 'sharded');
    await saveModel(model, out, { maxShardBytes: 50_000 });
    const loaded = await loadModel(out, { backend });
    for (const [name, parameter] of loaded.parameters()) {
      const [rounded, exact] = [parameter.readSync(), model.parameters().get(name)!.readSync()];
      const worst = name.endsWith('correction_bias') ? 0 : 2 ** -8;
      const excess = Array.from(
        rounded,
        (value, i) => Math.abs(value - exact[i]!) - worst * Math.abs(exact[i]!),
      );
      expect(Math.max(...excess), name).toBeLessThanOrEqual(0);
    }
    expect(distance(logitsOf(loaded), logitsOf(model))).toBeLessThan(0.5);
  });

  it('of every family, from safetensors, FP8 or GGUF, loads in transformers and gives the same logits', async () => {
    if (!hasPython('torch', 'transformers')) return;
    const sources = [
      ...[...fixtureNames, ...sparseFixtureNames, ...denseFixtureNames, 'fp8-v3', 'mtp-v3'].map((name) => [
        name,
        name,
      ]),
      ['gguf/dense-llama.gguf', 'dense-llama'],
      ['gguf/dense-qwen2.gguf', 'dense-qwen2'],
      ['gguf/v3-base.gguf', 'v3-base'],
      ['gguf/v2-lite-fused.gguf', 'v2-lite'],
    ] as const;
    const folders: string[] = [];
    for (const [from, fixture] of sources as readonly (readonly [string, string])[]) {
      const model = await loadModel(fixtureFolder(from), { backend: fastBackend });
      const out = join(folder, `export-${from.replaceAll('/', '-')}`);
      await saveModel(model, out, { dtype: 'f32' });
      const { sequences } = await readExpected(fixture);
      using arena = new Arena(fastBackend);
      const { logits } = model.forward(model.batch(arena, sequences));
      const shape = [2, sequences[0]!.length];
      await writeSafetensors(join(out, 'expected.safetensors'), {
        input_ids: { dtype: 'I32', shape, data: Int32Array.from(sequences.flat()) },
        logits: { dtype: 'F32', shape: [...shape, model.config.vocabSize], data: logits.readSync() },
      });
      folders.push(out);
    }
    const script = fileURLToPath(new URL('../../../tools/parity/check_export.py', import.meta.url));
    const printed = execFileSync('python3', [script, ...folders], { encoding: 'utf8' });
    const results = printed
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(results).toHaveLength(folders.length);
    for (const result of results) {
      expect(result).toMatchObject({ passed: true });
      // transformers leaves MTP modules aside.
      if (!String(result.folder).endsWith('mtp-v3')) expect(result.unexpectedKeys).toEqual([]);
    }
    const worst = Math.max(...results.map(({ largestDifference }) => largestDifference as number));
    console.log(`${results.length} exports in transformers: largest difference ${worst.toExponential(1)}`);
  }, 240_000);
});

describe('loading', () => {
  it('accepts experts packed as transformers holds them in memory', async () => {
    const tensors = await tensorsOf('v3-base');
    const { moe, hiddenSize: D } = await readConfig(fixtureFolder('v3-base'));
    for (const layer of [1, 2]) {
      const prefix = `model.layers.${layer}.mlp.experts.`;
      const bytes = (part: string, e: number) => {
        const key = `${prefix}${e}.${part}_proj.weight`;
        const data = Buffer.from(tensors.get(key)!.data as Uint8Array);
        tensors.delete(key);
        return data;
      };
      const experts = Array.from({ length: moe!.experts }, (_, e) => e);
      const gateUp = Buffer.concat(experts.flatMap((e) => [bytes('gate', e), bytes('up', e)]));
      const down = Buffer.concat(experts.map((e) => bytes('down', e)));
      const F = moe!.expertSize;
      tensors.set(`${prefix}gate_up_proj`, { dtype: 'F32', shape: [moe!.experts, 2 * F, D], data: gateUp });
      tensors.set(`${prefix}down_proj`, { dtype: 'F32', shape: [moe!.experts, D, F], data: down });
    }
    const expected = logitsOf(await loadModel(fixtureFolder('v3-base'), { backend }));
    expect(distance(logitsOf(await loadTensors('v3-base', tensors)), expected)).toBe(0);
  });

  it('reports progress to the last number', async () => {
    const seen: number[] = [];
    let total = 0;
    await loadModel(fixtureFolder('v3-base'), {
      backend,
      onProgress: (progress) => {
        seen.push(progress.loaded);
        total = progress.total;
      },
    });
    expect(seen.at(-1)).toBe(total);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  it('leaves out MTP modules that the config announces and the file lacks', async () => {
    expect((await readConfig(fixtureFolder('v3-groups-yarn'))).mtpLayers).toBe(1);
    const model = await loadModel(fixtureFolder('v3-groups-yarn'), { backend });
    expect(model.config.mtpLayers).toBe(0);
  });

  it('names every missing tensor, wrong shape and unsupported type, together', async () => {
    const tensors = await tensorsOf('v3-base');
    tensors.delete('model.norm.weight');
    tensors.delete('model.layers.1.mlp.experts.3.up_proj.weight');
    tensors.set('lm_head.weight', fromShape([96, 48]));
    tensors.set('model.layers.0.input_layernorm.weight', {
      dtype: 'F8_E4M3',
      shape: [48],
      data: new Uint8Array(48),
    });
    await expect(loadTensors('v3-base', tensors)).rejects.toMatchObject({
      code: 'invalid-file',
      details: {
        problems: expect.arrayContaining([
          'model.norm.weight is missing',
          'model.layers.1.mlp.experts.3.up_proj.weight is missing',
          'lm_head.weight is [96, 48] instead of [97, 48]',
          expect.stringMatching(/input_layernorm.weight is F8_E4M3, which takes a quantization_config/),
        ]),
      },
    });
  });

  it('fails with a typed error for a folder without a config, and for one that is no JSON', async () => {
    await expect(loadModel(join(folder, 'nowhere'), { backend })).rejects.toMatchObject({
      code: 'invalid-file',
    });
    const broken = join(folder, 'broken');
    await cp(fixtureFolder('v3-base'), broken, { recursive: true });
    await writeFile(join(broken, 'config.json'), '{"model_type": ');
    await expect(loadModel(broken, { backend })).rejects.toMatchObject({ code: 'invalid-file' });
    const text = await readFile(join(fixtureFolder('v3-base'), 'config.json'), 'utf8');
    await writeFile(join(broken, 'config.json'), text.replace('"hidden_size": 48', '"hidden_size": 50'));
    await expect(loadModel(broken, { backend })).rejects.toThrow(/instead of \[97, 50\].*and \d+ more/);
  });

  it('gives back the memory of a model whose arena is disposed', async () => {
    const own = createReference();
    const arena = new Arena(own, { persistent: true });
    await loadModel(fixtureFolder('v3-base'), { backend: own, arena });
    expect(own.memoryUse().bytes).toBeGreaterThan(300_000);
    arena.dispose();
    expect(own.memoryUse().bytes).toBe(0);
  });
});

const fromShape = (shape: readonly number[]): TensorData => ({
  dtype: 'F32',
  shape,
  data: fromFloat32('F32', new Float32Array(shape.reduce((a, b) => a * b, 1))),
});

describe('a fresh model', () => {
  const config = {
    ...presets['DeepSeek-V3'],
    vocabSize: 50,
    hiddenSize: 32,
    intermediateSize: 40,
    numLayers: 2,
    numHeads: 2,
    qLoraRank: 16,
    kvLoraRank: 8,
    qkNopeHeadDim: 8,
    qkRopeHeadDim: 4,
    vHeadDim: 8,
    firstDenseLayers: 1,
    maxPositions: 64,
    yarn: null,
    moe: { ...presets['DeepSeek-V3'].moe!, experts: 8, groups: 2, topGroups: 1, topK: 2, expertSize: 16 },
  };

  it('has the published initialisation', () => {
    const model = DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 3 });
    for (const [name, parameter] of model.parameters()) {
      const values = Array.from(parameter.readSync());
      if (name.includes('norm')) expect(new Set(values)).toEqual(new Set([1]));
      else if (name.endsWith('correction_bias')) expect(new Set(values)).toEqual(new Set([0]));
      else if (values.length > 1000) {
        const deviation = Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
        expect(deviation / 0.006, name).toBeGreaterThan(0.9);
        expect(deviation / 0.006, name).toBeLessThan(1.1);
      }
    }
    const again = DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 3 });
    expect(distance(logitsOfSmall(again), logitsOfSmall(model))).toBe(0);
  });

  it('may share its head with the embedding, and be saved and loaded so', async () => {
    const tied = { ...config, tieEmbeddings: true, mtpLayers: 0 };
    const model = DeepSeekModel.init(tied, { arena: new Arena(backend, { persistent: true }) });
    expect([...publishedWeights(model).keys()]).not.toContain('lm_head.weight');
    await saveModel(model, join(folder, 'tied'), { dtype: 'f32' });
    const loaded = await loadModel(join(folder, 'tied'), { backend });
    expect(distance(logitsOfSmall(loaded), logitsOfSmall(model))).toBe(0);
  });

  function logitsOfSmall(model: DeepSeekModel): ArrayLike<number> {
    using arena = new Arena(backend);
    return model.forward(model.batch(arena, [[1, 2, 3]])).logits.readSync();
  }
});
