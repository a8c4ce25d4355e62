import { encodeSafetensors, openSafetensors, type TensorData } from '@minke/checkpoints';
import { type ErrorCode, e4m3ToFloat32, memorySource } from '@minke/core';
import { Arena } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { fp8Weights, parseQuantization } from './fp8-weights.ts';
import { loadModel, readConfig, readConfigJson } from './load.ts';
import { distance, fastBackend, fixtureFolder, readExpected, tensorsOf } from './testing/fixtures.ts';

const backend = fastBackend;
// Written by tools/parity/fp8.py.
const names = ['fp8-v3', 'fp8-ue8m0'];

async function load(name: string, tensors: Map<string, TensorData>, change: object = {}) {
  const json = (await readConfigJson(fixtureFolder(name))) as { quantization_config: object };
  const quantization = parseQuantization({ quantization_config: { ...json.quantization_config, ...change } });
  const file = await openSafetensors(memorySource(await encodeSafetensors(tensors)));
  const config = await readConfig(fixtureFolder(name));
  return loadModel({ config, weights: fp8Weights(file, quantization!) }, { backend });
}

describe.each(names)('the FP8 checkpoint %s', (name) => {
  it("gives transformers' logits on the dequantised weights, one shot and by token", async () => {
    const model = await loadModel(fixtureFolder(name), { backend });
    const { sequences, logits, exact } = await readExpected(name);
    using arena = new Arena(backend);
    const whole = model.forward(model.batch(arena, sequences)).logits.readSync();
    const { vocabSize } = model.config;
    const byToken = new Float32Array(whole.length);
    using cache = model.createCache({ maxTokens: 32, sequences: 2 });
    for (let t = 0; t < 32; t++) {
      using step = new Arena(backend);
      const ids = step.tensor(
        sequences.map((sequence) => sequence[t] as number),
        [2],
        'i32',
      );
      const batch = cache.append(
        step,
        [0, 1].map((sequence) => ({ sequence, count: 1, role: 'generated' as const })),
      );
      const rows = model.forward({ ids, ...batch }, { cache }).logits.readSync();
      for (let s = 0; s < 2; s++)
        byToken.set(Array.from(rows).slice(s * vocabSize, (s + 1) * vocabSize), (s * 32 + t) * vocabSize);
    }
    const worst = [whole, byToken].map((ours) => Math.max(distance(ours, logits), distance(ours, exact)));
    console.log(`${name}: one shot ${worst[0]!.toExponential(1)}, by token ${worst[1]!.toExponential(1)}`);
    expect(Math.max(...worst)).toBeLessThan(1e-4);
  });
});

it("codes widen as PyTorch's float8_e4m3fn do", async () => {
  const file = await openSafetensors(`${fixtureFolder('fp8-v3')}/expected.safetensors`);
  const codes = e4m3ToFloat32(Uint8Array.from({ length: 256 }, (_, code) => code));
  expect(codes).toEqual(await file.readFloat32('codes'));
  await file.close();
});

it('scales in U8, BF16 and F32 are read where they hold the same numbers', async () => {
  const expected = await loadModel(fixtureFolder('fp8-ue8m0'), { backend });
  const key = 'model.layers.1.mlp.experts.3.up_proj.weight';
  for (const dtype of ['U8', 'BF16', 'F32'] as const) {
    const tensors = await tensorsOf('fp8-ue8m0');
    const scale = tensors.get(`${key}_scale_inv`)!;
    const exponents = [...(scale.data as Uint8Array)];
    const data = {
      U8: Uint8Array.from(exponents),
      BF16: Uint16Array.from(exponents, (exponent) => exponent << 7),
      F32: Float32Array.from(exponents, (exponent) => 2 ** (exponent - 127)),
    };
    tensors.set(`${key}_scale_inv`, { ...scale, dtype, data: data[dtype] });
    const model = await load('fp8-ue8m0', tensors);
    const packed = 'model.layers.1.mlp.experts.up_proj';
    expect(
      distance(model.parameters().get(packed)!.readSync(), expected.parameters().get(packed)!.readSync()),
    ).toBe(0);
  }
});

it('blocks are those of the configuration, packed experts too, to the last row and column', async () => {
  // Two matrices of 3 x 5 in blocks of 2 x 2: codes of 1, so the numbers are the scales.
  const tensors = {
    w: { dtype: 'F8_E4M3', shape: [2, 3, 5], data: new Uint8Array(30).fill(0x38) },
    w_scale_inv: { dtype: 'F32', shape: [2, 2, 3], data: Float32Array.from({ length: 12 }, (_, i) => i) },
  } as const;
  const file = await openSafetensors(memorySource(await encodeSafetensors(tensors)));
  const weights = fp8Weights(file, { block: [2, 2], powersOfTwo: false, kept: [] });
  expect([...weights.tensors]).toEqual([['w', { dtype: 'F32', shape: [2, 3, 5] }]]);
  const first = [0, 0, 1, 1, 2, 0, 0, 1, 1, 2, 3, 3, 4, 4, 5];
  expect([...(await weights.readFloat32('w'))]).toEqual([...first, ...first.map((scale) => scale + 6)]);
});

describe('what is refused', () => {
  const key = 'model.layers.0.mlp.up_proj.weight';
  it.each<[string, (tensors: Map<string, TensorData>) => void, RegExp, object?]>([
    ['weights without scales', (t) => t.delete(`${key}_scale_inv`), /up_proj.weight_scale_inv is missing/],
    [
      'scales of another shape',
      (t) => t.set(`${key}_scale_inv`, { dtype: 'F32', shape: [1, 1], data: new Float32Array(1) }),
      /_scale_inv is \[1, 1\] instead of \[2, 2\]/,
    ],
    [
      'scales of another type',
      (t) => t.set(`${key}_scale_inv`, { dtype: 'I8', shape: [2, 2], data: new Int8Array(4) }),
      /_scale_inv is I8 instead of F32, BF16, F16, F8_E8M0/,
    ],
    [
      'bytes for scales that are no powers of two',
      (t) => t.set(`${key}_scale_inv`, { dtype: 'U8', shape: [2, 2], data: new Uint8Array(4) }),
      /_scale_inv is U8 instead/,
    ],
    [
      'scales without weights',
      (t) => t.set('x.weight_scale_inv', { dtype: 'F32', shape: [1], data: new Float32Array(1) }),
      /x.weight_scale_inv is there without/,
    ],
    [
      'scales that are NaN',
      (t) =>
        t.set(`${key}_scale_inv`, {
          dtype: 'F32',
          shape: [2, 2],
          data: Float32Array.of(1, 1, Number.NaN, 1),
        }),
      /finite scales, got NaN in .*up_proj.weight_scale_inv \(element 2\)/,
    ],
    [
      'scales that are infinite',
      (t) =>
        t.set(`${key}_scale_inv`, {
          dtype: 'F32',
          shape: [2, 2],
          data: Float32Array.of(1, Number.POSITIVE_INFINITY, 1, 1),
        }),
      /finite scales, got Infinity/,
    ],
    [
      'a byte that is NaN',
      (t) =>
        t.set(`${key}_scale_inv`, {
          dtype: 'F8_E8M0',
          shape: [2, 2],
          data: Uint8Array.of(127, 127, 127, 255),
        }),
      /finite scales, got NaN/,
    ],
    [
      'codes that are NaN',
      (t) =>
        t.set(key, {
          ...t.get(key)!,
          data: new Uint8Array((t.get(key)!.data as Uint8Array).length).fill(0x7f),
        }),
      /finite weights, got NaN in .*up_proj.weight/,
    ],
    [
      'a vector',
      (t) =>
        t
          .set('x', { dtype: 'F8_E4M3', shape: [4], data: new Uint8Array(4) })
          .set('x_scale_inv', { dtype: 'F32', shape: [1], data: new Float32Array(1) }),
      /instead of scales of a matrix/,
    ],
    [
      'modules that are not converted',
      () => {},
      /although modules_to_not_convert names mlp/,
      { modules_to_not_convert: ['mlp'] },
    ],
    [
      'other blocks',
      () => {},
      /a scale for each block of 64 x 64, but .* instead of/,
      { weight_block_size: [64, 64] },
    ],
  ])('%s', async (_, edit, message, change) => {
    const tensors = await tensorsOf('fp8-v3');
    edit(tensors);
    await expect(load('fp8-v3', tensors, change)).rejects.toMatchObject({
      code: 'invalid-file' satisfies ErrorCode,
      message: expect.stringMatching(message),
    });
  });

  it.each<[string, unknown, RegExp]>([
    ['AWQ', { quant_method: 'awq', bits: 4 }, /expected quant_method fp8, got "awq"/],
    ['GPTQ', { quant_method: 'gptq' }, /got "gptq"/],
    ['compressed-tensors', { quant_method: 'compressed-tensors' }, /got "compressed-tensors"/],
    ['bitsandbytes', { quant_method: 'bitsandbytes', load_in_4bit: true }, /got "bitsandbytes"/],
    ['no method', { bits: 8 }, /got \{"bits":8\}/],
    ['text', 'fp8', /quant_method fp8/],
    ['another format', { fmt: 'e5m2' }, /fmt e4m3, got "e5m2"/],
    ['scales of activations', { activation_scheme: 'static' }, /activation_scheme dynamic, got "static"/],
    ['other scales', { scale_fmt: 'ue4m3' }, /scale_fmt float or ue8m0, got "ue4m3"/],
    ['experts of 4 bits', { expert_dtype: 'fp4' }, /expert_dtype fp8, got "fp4"/],
    ['one scale for a tensor', { weight_block_size: null }, /weight_block_size \[rows, columns\].* got null/],
    ['a block of nothing', { weight_block_size: [0, 128] }, /weight_block_size/],
    ['names that are none', { modules_to_not_convert: [1] }, /a list of names, got \[1\]/],
  ])('%s', (_, config, message) => {
    const fp8 = { quant_method: 'fp8', weight_block_size: [128, 128] };
    const whole =
      typeof config === 'object' && config !== null && !('bits' in config) ? { ...fp8, ...config } : config;
    expect(() => parseQuantization({ quantization_config: whole })).toThrow(
      expect.objectContaining({
        code: 'unsupported' satisfies ErrorCode,
        message: expect.stringMatching(message),
      }),
    );
  });

  it('nothing, where a config says nothing', () => {
    for (const config of [null, {}, { quantization_config: null }])
      expect(parseQuantization(config)).toBeNull();
  });
});
