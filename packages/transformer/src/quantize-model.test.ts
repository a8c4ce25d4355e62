// Quantised folders: written from folders in every layout, read back to the bits of rounding while loading.
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint, streamCheckpoint, type TensorData, writeCheckpoint } from '@minke/checkpoints';
import { MinkeError } from '@minke/core';
import { Arena, linear, PackedWeights } from '@minke/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DeepSeekConfig, ModelConfig, MoeShape } from './config.ts';
import { DeepSeekModel } from './deepseek.ts';
import { huggingFaceConfigText } from './hugging-face-config.ts';
import { loadModel, publishedWeights, saveModel } from './load.ts';
import { parameterShapes } from './names.ts';
import { presets } from './presets.ts';
import { isLatentProjection, quantizableParameters, tokenTable } from './quantizable.ts';
import { rulesOf } from './quantize-choices.ts';
import { quantizeModel } from './quantize-model.ts';
import { formatQuantization } from './quantize-report.ts';
import { fastBackend, fixtureFolder, readExpected } from './testing/fixtures.ts';

const backend = fastBackend;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'minke-quantize-'));
  await saveModel(
    DeepSeekModel.init(v3, { arena: new Arena(backend, { persistent: true }), seed: 1 }),
    at('v3'),
  );
  await saveModel(
    DeepSeekModel.init(llama, { arena: new Arena(backend, { persistent: true }), seed: 2 }),
    at('llama'),
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

const base = presets['DeepSeek-V3'] as DeepSeekConfig;
const v3: DeepSeekConfig = {
  ...base,
  ...{ vocabSize: 200, hiddenSize: 64, intermediateSize: 96, numLayers: 3, numHeads: 2, mtpLayers: 1 },
  ...{ qLoraRank: 32, kvLoraRank: 32, qkNopeHeadDim: 16, qkRopeHeadDim: 8, vHeadDim: 16, initStd: 0.2 },
  ...{ firstDenseLayers: 1, yarn: null, maxPositions: 64 },
  moe: { ...(base.moe as MoeShape), expertSize: 32, experts: 4, topK: 2, groups: 1, topGroups: 1 },
};
const llama: ModelConfig = {
  ...{ modelType: 'llama', vocabSize: 210, hiddenSize: 64, intermediateSize: 96, numLayers: 2, numHeads: 4 },
  ...{
    numKeyValueHeads: 2,
    headDim: 16,
    qkvBias: false,
    normEps: 1e-5,
    ropeTheta: 1e4,
    llama3: null,
    yarn: null,
  },
  ...{ moe: null, mtpLayers: 0, maxPositions: 64, initStd: 0.2, tieEmbeddings: true },
  ...{ bosTokenId: 0, eosTokenIds: [1], padTokenId: null },
};
const ids = [Array.from({ length: 20 }, (_, i) => (7 + 31 * i) % 200)];

async function logitsOf(model: DeepSeekModel, packed?: PackedWeights): Promise<ArrayLike<number>> {
  using arena = new Arena(backend, packed === undefined ? {} : { packed });
  return model.forward(model.batch(arena, ids)).logits.read();
}

/** Tensors of a checkpoint, to write others of. */
async function tensorsOf(name: string): Promise<Map<string, TensorData>> {
  const checkpoint = await openCheckpoint(at(name));
  const tensors = new Map<string, TensorData>();
  for (const [key, { dtype, shape }] of checkpoint.tensors)
    tensors.set(key, { dtype, shape, data: await checkpoint.read(key) });
  await checkpoint.close();
  return tensors;
}

async function writeFolder(name: string, tensors: Map<string, TensorData>, config: string): Promise<void> {
  const { mkdir } = await import('node:fs/promises');
  await mkdir(at(name));
  await writeFile(join(at(name), 'config.json'), config);
  await writeCheckpoint(at(name), tensors);
}

describe.each([
  ['v3', v3],
  ['llama', llama],
] as const)('%s', (name, config) => {
  it.each(['q8_0', 'q4_0'] as const)('in %s has the bits of the original, rounded', async (type) => {
    const out = at(`${name}-${type}`);
    const report = await quantizeModel(at(name), out, { backend, type, maxShardBytes: 50_000 });
    const loaded = await loadModel(out, { backend });
    const rounded = await loadModel(at(name), { backend, quantize: type });
    const whole = await loadModel(at(name), { backend });
    const fit = quantizableParameters(config);
    const table = whole.parameters().get('model.embed_tokens.weight')!;
    const matrices = [...whole.parameters()].filter(([key]) => fit.has(key)).map(([, w]) => w);
    const rows = [...whole.parameters()].filter(([key]) => isLatentProjection(key)).map(([, w]) => w);
    using packed = new PackedWeights(backend, config.tieEmbeddings ? [...matrices, table] : matrices, {
      ...{ quantize: type, rows },
    });
    const wanted = await logitsOf(whole, packed);
    expect(await logitsOf(rounded)).toEqual(wanted);
    expect(await logitsOf(loaded)).toEqual(wanted);
    expect(await logitsOf(whole)).not.toEqual(wanted);
    for (const model of [rounded, loaded]) expect(model.parameters().get(tokenTable)!.dtype).toBe('bf16');

    const files = (await readdir(out)).filter((file) => file.endsWith('.safetensors'));
    expect(files.length).toBeGreaterThan(1);
    expect([...report.files].sort()).toEqual(files.sort());
    let bytes = 0;
    for (const file of files) bytes += (await stat(join(out, file))).size;
    expect(report.bytesAfter).toBe(bytes);
    expect(report.error).toBeGreaterThan(type === 'q8_0' ? 0.002 : 0.04);
    expect(report.error).toBeLessThan(type === 'q8_0' ? 0.01 : 0.15);
    expect(report.worstError).toBeGreaterThanOrEqual(report.error);
    const group = report.groups.find(({ name }) => name.endsWith('layers.*.self_attn.o_proj.weight'))!;
    expect((8 * group.bytes) / group.parameters).toBe(type === 'q8_0' ? 8.5 : 4.5);
    expect(report.groups.find(({ name }) => name === 'model.embed_tokens.weight')!.error).toBe(0);
    expect(formatQuantization(report)).toContain('bits a weight');
  });
});

it('packed experts of transformers and ours are rounded as those one by one', async () => {
  const tensors = await tensorsOf('v3');
  const config = await readFile(join(at('v3'), 'config.json'), 'utf8');
  const joined = (names: string[], shape: number[]): TensorData => ({
    dtype: 'BF16',
    shape,
    data: Buffer.concat(names.map((key) => Buffer.from(tensors.get(key)!.data as Uint8Array))),
  });
  const fused = new Map([...tensors].filter(([key]) => !key.includes('.experts.')));
  for (const layer of [1, 2, 3]) {
    const experts = `model.layers.${layer}.mlp.experts`;
    const of = (e: number, part: string) => `${experts}.${e}.${part}_proj.weight`;
    const all = [0, 1, 2, 3];
    fused.set(
      `${experts}.gate_up_proj`,
      joined(
        all.flatMap((e) => [of(e, 'gate'), of(e, 'up')]),
        [4, 64, 64],
      ),
    );
    fused.set(
      `${experts}.down_proj`,
      joined(
        all.map((e) => of(e, 'down')),
        [4, 64, 32],
      ),
    );
  }
  await writeFolder('fused', fused, config);
  const options = { backend, type: 'q4_0' } as const;
  const report = await quantizeModel(at('fused'), at('fused-int4'), options);
  expect(report.leftOut).toEqual([
    'model.layers.3.embed_tokens.weight',
    'model.layers.3.shared_head.head.weight',
  ]);
  const wanted = await logitsOf(await loadModel(at('v3'), { backend, quantize: 'q4_0' }));
  expect(await logitsOf(await loadModel(at('fused-int4'), { backend }))).toEqual(wanted);
  expect(await logitsOf(await loadModel(at('fused'), { backend, quantize: 'q4_0' }))).toEqual(wanted);
});

it('FP8 checkpoints are rounded from their dequantised weights', async () => {
  const source = fixtureFolder('fp8-v3');
  const report = await quantizeModel(source, at('fp8-int8'), { backend, type: 'q8_0' });
  expect(report.groups.some(({ type }) => type === 'q8_0')).toBe(true);
  const { sequences } = await readExpected('fp8-v3');
  const run = async (model: DeepSeekModel) => {
    using arena = new Arena(backend);
    return model.forward(model.batch(arena, sequences)).logits.read();
  };
  const wanted = await run(await loadModel(source, { backend, quantize: 'q8_0' }));
  expect(await run(await loadModel(at('fp8-int8'), { backend }))).toEqual(wanted);
});

it('has no f32 copy of what is rounded', async () => {
  using arena = new Arena(backend, { persistent: true });
  await loadModel(at('v3'), { backend, arena, quantize: 'q4_0' });
  const rounded = quantizableParameters(v3);
  let expected = 0;
  for (const [name, shape] of parameterShapes(v3)) {
    const count = shape.reduce((a, b) => a * b, 1);
    if (name === tokenTable) expected += 2 * count;
    else if (isLatentProjection(name)) expected += 2 * (count / 32) * 34;
    else expected += rounded.has(name) ? (count / 32) * 18 : 4 * count;
  }
  expect(arena.bytes).toBeLessThan(1.1 * expected);
});

describe('rules', () => {
  const quantize = (name: string, overrides: string[], kept: string[] = []) =>
    quantizeModel(at('v3'), at(name), { backend, type: 'q4_0', rules: rulesOf(overrides, kept) });

  it('choose types by name, the last one first', async () => {
    const report = await quantize(
      'ruled',
      ['*=q8_0', '*norm*=f32', '*bias=f32', 'model.layers.0.*proj*=q4_0', '*.kv_b_proj.weight=bf16'],
      ['lm_head.weight'],
    );
    const typeOf = (name: string) => report.groups.find((group) => group.name === name)?.type;
    expect(typeOf('lm_head.weight')).toBe('bf16');
    expect(typeOf('model.norm.weight')).toBe('f32');
    expect(typeOf('model.embed_tokens.weight')).toBe('q8_0');
    expect(typeOf('model.layers.*.mlp.gate.weight')).toBe('q8_0');
    expect(typeOf('model.layers.*.self_attn.kv_b_proj.weight')).toBe('bf16');
    expect(typeOf('model.layers.*.mlp.experts.*.up_proj.weight')).toBe('q8_0');
    const { quantization_config } = JSON.parse(await readFile(join(at('ruled'), 'config.json'), 'utf8'));
    expect(quantization_config.tensors.q4_0).toContain('model.layers.0.self_attn.o_proj.weight');
    expect(quantization_config.tensors.q8_0).toContain('model.layers.*.mlp.experts.*.up_proj.weight');
    expect(Array.from(await logitsOf(await loadModel(at('ruled'), { backend }))).every(Number.isFinite)).toBe(
      true,
    );
  });

  it.each([
    ['nothing', ['*.quack=q8_0'], [], 'got *.quack, which matches none'],
    ['no type', ['lm_head.weight'], [], 'expected pattern=type'],
    ['an unknown type', ['lm_head.weight=q5_k'], [], 'expected pattern=type'],
    ['blocks of a norm', ['*=q8_0'], [], 'multiple of 32 numbers for q8_0'],
    ['another type for one expert', ['*.experts.2.up_proj.weight=q8_0'], [], 'one type for all experts'],
    ['one matrix of experts', [], ['*.experts.*.down_proj.weight'], 'all in blocks or none'],
  ])('of %s are refused', async (_, overrides, kept, message) => {
    if (overrides[0] === '*=q8_0') overrides = ['*norm.weight=q8_0'];
    await expect((async () => quantize('refused', overrides, kept))()).rejects.toThrow(
      expect.objectContaining({ code: 'invalid-argument', message: expect.stringContaining(message) }),
    );
    expect((await readdir(folder)).filter((file) => file.includes('refused'))).toEqual([]);
  });

  it('a table in the type of the head is the head', async () => {
    const rules = rulesOf([`${tokenTable}=q8_0`], []);
    const report = await quantizeModel(at('llama'), at('one-table'), { backend, type: 'q8_0', rules });
    expect(report.groups.some(({ name }) => name === 'lm_head.weight')).toBe(false);
    const model = await loadModel(at('one-table'), { backend });
    expect(model.headWeight.dtype).toBe('q8_0');
    // The head has the bits of one beside an exact table; what is looked up does not.
    await quantizeModel(at('llama'), at('two-tables'), { backend, type: 'q8_0' });
    const two = await loadModel(at('two-tables'), { backend });
    const x = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
    using arena = new Arena(backend);
    const [one, other] = [model, two].map((m) => linear(arena.tensor(x, [1, 64]), m.headWeight));
    expect(await one!.read()).toEqual(await other!.read());
    expect(await logitsOf(model)).not.toEqual(await logitsOf(two));
    // In another type, both are kept.
    const mixed = { backend, type: 'q4_0', rules } as const;
    expect((await quantizeModel(at('llama'), at('mixed'), mixed)).groups.map(({ name }) => name)).toContain(
      'lm_head.weight',
    );
    const parted = await loadModel(at('mixed'), { backend });
    expect([parted.headWeight.dtype, parted.headWeight.tiles!.dtype]).toEqual(['q8_0', 'q4_0']);
    const ids = arena.tensor([0, 7, 209], [3], 'i32');
    expect(await parted.embed(ids).read()).toEqual(await model.embed(ids).read());
  });

  it('a head that is kept is the table', async () => {
    const rules = rulesOf([], ['lm_head.weight']);
    const report = await quantizeModel(at('llama'), at('kept-head'), { backend, type: 'q8_0', rules });
    expect(report.groups.some(({ name }) => name === 'lm_head.weight')).toBe(false);
    const model = await loadModel(at('kept-head'), { backend });
    expect(model.headWeight.dtype).toBe('f32');
    expect(Array.from(await logitsOf(model)).every(Number.isFinite)).toBe(true);
  });
});

describe('failures leave nothing', () => {
  const options = { backend, type: 'q4_0' } as const;
  const leftOf = async (name: string) => (await readdir(folder)).filter((file) => file.includes(name));

  it('where there is a folder already', async () => {
    const { mkdir } = await import('node:fs/promises');
    await mkdir(at('there'));
    await writeFile(join(at('there'), 'precious'), 'x');
    await expect(quantizeModel(at('v3'), at('there'), options)).rejects.toThrow('not there yet');
    expect(await readdir(at('there'))).toEqual(['precious']);
  });

  it('of weights that are not finite', async () => {
    const tensors = await tensorsOf('v3');
    const key = 'model.layers.2.self_attn.o_proj.weight';
    const data = new Uint16Array((tensors.get(key)!.data as Uint8Array).slice().buffer);
    data[100] = 0x7f80;
    const config = await readFile(join(at('v3'), 'config.json'), 'utf8');
    await writeFolder('infinite', new Map([...tensors, [key, { ...tensors.get(key)!, data }]]), config);
    await expect(quantizeModel(at('infinite'), at('never'), options)).rejects.toThrow(
      expect.objectContaining({ code: 'invalid-file', message: expect.stringContaining(key) }),
    );
    expect(await leftOf('never')).toEqual([]);
  });

  it('when the disk has no room', async () => {
    const { mkdir, truncate } = await import('node:fs/promises');
    await mkdir(at('huge'));
    const vast: DeepSeekConfig = { ...v3, vocabSize: 2 ** 22, hiddenSize: 2 ** 17, mtpLayers: 0 };
    await writeFile(join(at('huge'), 'config.json'), huggingFaceConfigText(vast));
    const specs = [...parameterShapes(vast)].map(([key, shape]) => [key, { dtype: 'F16', shape }] as const);
    const stream = await streamCheckpoint(at('huge'), new Map(specs), { maxShardBytes: 1e14 });
    await stream.close();
    // A hole on the disk of some terabytes.
    await truncate(join(at('huge'), 'model.safetensors'), stream.byteLength);
    await expect(quantizeModel(at('huge'), at('roomless'), options)).rejects.toThrow(
      expect.objectContaining({ code: 'out-of-memory', message: expect.stringMatching(/free on the disk/) }),
    );
    expect(await leftOf('roomless')).toEqual([]);
  });

  it('when it is stopped', async () => {
    const controller = new AbortController();
    const stopped = quantizeModel(at('v3'), at('stopped'), {
      ...options,
      signal: controller.signal,
      onProgress: ({ done, total }) => {
        if (done > total / 2) controller.abort();
      },
    });
    await expect(stopped).rejects.toThrow(expect.objectContaining({ code: 'aborted' }));
    expect(await leftOf('stopped')).toEqual([]);
  });

  it('when the rest cannot be written', async () => {
    const writeRest = () => Promise.reject(new MinkeError('invalid-file', 'no tokenizer'));
    await expect(quantizeModel(at('v3'), at('restless'), { ...options, writeRest })).rejects.toThrow(
      'no tokenizer',
    );
    expect(await leftOf('restless')).toEqual([]);
  });
});

describe('a folder that is not what it says', () => {
  const name = 'broken';
  let config: string;
  let tensors: Map<string, TensorData>;
  beforeAll(async () => {
    await quantizeModel(at('v3'), at('whole'), { backend, type: 'q4_0' });
    config = await readFile(join(at('whole'), 'config.json'), 'utf8');
    tensors = await tensorsOf('whole');
  });
  const load = async (
    change: (json: { quantization_config: Record<string, unknown> }) => void,
    without?: string,
  ) => {
    const json = JSON.parse(config);
    change(json);
    await rm(at(name), { recursive: true, force: true });
    await writeFolder(name, new Map([...tensors].filter(([key]) => key !== without)), JSON.stringify(json));
    return loadModel(at(name), { backend });
  };
  const scale = 'model.layers.1.mlp.experts.3.up_proj.weight_scale';
  it.each<
    [string, (json: { quantization_config: Record<string, unknown> }) => void, string | undefined, string]
  >([
    [
      'another version',
      (json) => {
        json.quantization_config.format_version = 2;
      },
      undefined,
      'unsupported',
    ],
    [
      'another group size',
      (json) => {
        json.quantization_config.group_size = 64;
      },
      undefined,
      'unsupported',
    ],
    ['scales that are missing', () => {}, scale, 'invalid-file'],
    ['a weight that is missing', () => {}, 'model.norm.weight', 'invalid-file'],
    [
      'another shape',
      (json) => {
        Object.assign(json, { hidden_size: 128 });
      },
      undefined,
      'invalid-file',
    ],
  ])('with %s is refused', async (_, change, without, code) => {
    await expect(load(change, without)).rejects.toThrow(expect.objectContaining({ code }));
  });

  it('loads when nothing is changed', async () => {
    expect(await logitsOf(await load(() => {}))).toEqual(
      await logitsOf(await loadModel(at('whole'), { backend })),
    );
  });
});

it('a model of blocks is not written back and not trained', async () => {
  const model = await loadModel(at('llama'), { backend, quantize: 'q8_0' });
  const weights = publishedWeights(model);
  const { data } = weights.get('model.layers.0.self_attn.o_proj.weight')!;
  await expect((async () => (data as () => unknown)())()).rejects.toThrow('kept packed');
  using arena = new Arena(backend, { grad: true });
  expect(() => model.forward(model.batch(arena, ids))).toThrow('kept packed');
  expect(huggingFaceConfigText(llama)).not.toContain('quantization_config');
});
