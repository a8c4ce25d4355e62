// The quantised format: blocks to files and back, and files that are not what their config says.
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dequantizeBlocks, memorySource, quantizeBlocks } from '@minke/core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  encodeSafetensors,
  joinBlocks,
  openCheckpoint,
  openSafetensors,
  parseQuantizationConfig,
  type QuantizedType,
  quantizationConfig,
  quantizedReader,
  quantizedSpecs,
  splitBlocks,
  streamCheckpoint,
  type TensorData,
  writeSafetensors,
} from './index.ts';
import { newFolder } from './new-folder.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quantized-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * i) / 9);
const ggufOf = { q8_0: 'Q8_0', q4_0: 'Q4_0' } as const;

/** The two tensors of a weight. */
function parts(name: string, shape: readonly number[], type: QuantizedType): [string, TensorData][] {
  const count = shape.reduce((a, b) => a * b, 1);
  const { integers, scales } = splitBlocks(type, quantizeBlocks(ggufOf[type], numbers(count)));
  const [first, second] = quantizedSpecs(name, shape, type);
  return [
    [first![0], { ...first![1], data: integers }],
    [second![0], { ...second![1], data: scales }],
  ];
}

const norm = ['norm', { dtype: 'F32', shape: [2], data: Float32Array.of(1, 2) }] as [string, TensorData];
const good = () => new Map([...parts('a.0.w', [3, 64], 'q8_0'), ...parts('b', [2, 2, 32], 'q4_0'), norm]);
const config = quantizationConfig(new Map([['a.0.w', 'q8_0'] as const, ['b', 'q4_0'] as const]), ['norm']);

async function read(tensors: ReadonlyMap<string, TensorData>, settings = config) {
  const file = await openSafetensors(memorySource(await encodeSafetensors(tensors)));
  return quantizedReader(file, settings);
}

describe('blocks', () => {
  it.each(['q8_0', 'q4_0'] as const)('of %s are the same after they were taken apart', (type) => {
    fc.assert(
      fc.property(fc.nat(4), (n) => {
        const bytes = quantizeBlocks(ggufOf[type], numbers(32 * n));
        expect(joinBlocks(type, splitBlocks(type, bytes))).toEqual(bytes);
      }),
    );
    const bytes = quantizeBlocks(ggufOf[type], numbers(96));
    const odd = new Uint8Array(bytes.length + 1);
    odd.set(bytes, 1);
    expect(joinBlocks(type, splitBlocks(type, odd.subarray(1)))).toEqual(bytes);
    expect(() => splitBlocks(type, bytes.subarray(1))).toThrow('whole blocks');
    expect(() => joinBlocks(type, { integers: bytes, scales: new Uint16Array(1) })).toThrow(
      'bytes of integers',
    );
  });

  it('mean what the schema says', () => {
    const values = numbers(32);
    const four = splitBlocks('q4_0', quantizeBlocks('Q4_0', values));
    const [scale] = new Float32Array(1).map(() => halfOf(four.scales[0]!));
    const wide = dequantizeBlocks('Q4_0', joinBlocks('q4_0', four));
    for (let i = 0; i < 32; i++) {
      const byte = four.integers[i % 16]!;
      expect(wide[i]).toBe(Math.fround(scale! * ((i < 16 ? byte & 15 : byte >> 4) - 8)));
    }
  });
});

function halfOf(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, (bits & 1023) / 1024];
  const size = exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

describe('the config', () => {
  it('has one pattern for what all layers and experts share', () => {
    const types = new Map<string, QuantizedType>();
    for (const layer of [0, 1])
      for (const expert of [0, 1, 2]) types.set(`l.${layer}.e.${expert}.up`, 'q4_0');
    for (const layer of [0, 1]) types.set(`l.${layer}.o`, layer === 0 ? 'q8_0' : 'q4_0');
    types.set('l.0.q', 'q4_0');
    expect(quantizationConfig(types, ['l.1.q', 'norm'])).toEqual({
      quant_method: 'minke',
      format_version: 1,
      group_size: 32,
      tensors: { q8_0: ['l.0.o'], q4_0: ['l.*.e.*.up', 'l.1.o', 'l.0.q'] },
    });
  });

  it('is read back, and those of others are left alone', () => {
    expect(parseQuantizationConfig({ quantization_config: config }, 'x')).toEqual(config);
    for (const other of [{}, null, { quantization_config: { quant_method: 'fp8' } }])
      expect(parseQuantizationConfig(other, 'x')).toBeNull();
  });

  it.each([
    ['another version', { format_version: 2 }, 'unsupported', 'format_version 1, got 2'],
    ['another group size', { group_size: 64 }, 'unsupported', 'group_size 32, got 64'],
    ['no version', { format_version: undefined }, 'unsupported', 'got nothing'],
    ['no tensors', { tensors: undefined }, 'invalid-file', 'lists of names'],
    ['an unknown type', { tensors: { q5_k: ['a'] } }, 'invalid-file', 'got q5_k'],
    ['names that are none', { tensors: { q8_0: [7] } }, 'invalid-file', 'lists of names'],
  ])('with %s is refused', (_, change, code, message) => {
    const broken = { quantization_config: { ...config, ...change } };
    expect(() => parseQuantizationConfig(broken, 'x')).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) }),
    );
  });
});

describe('the reader', () => {
  it('gives weights of their own shape, whole and in parts', async () => {
    const reader = await read(good());
    expect(reader.tensors.get('a.0.w')).toEqual({ dtype: 'Q8_0', shape: [3, 64] });
    expect(reader.tensors.get('b')).toEqual({ dtype: 'Q4_0', shape: [2, 2, 32] });
    expect([...reader.tensors.keys()].sort()).toEqual(['a.0.w', 'b', 'norm']);
    expect(await reader.readBlocks('a.0.w')).toEqual(quantizeBlocks('Q8_0', numbers(192)));
    for (const [name, type, count] of [['a.0.w', 'Q8_0', 192] as const, ['b', 'Q4_0', 128] as const]) {
      const whole = dequantizeBlocks(type, quantizeBlocks(type, numbers(count)));
      expect(await reader.readFloat32(name)).toEqual(whole);
      expect(await reader.readFloat32(name, { start: 32, count: 64 })).toEqual(whole.slice(32, 96));
      await expect(reader.readFloat32(name, { start: 16, count: 64 })).rejects.toThrow('whole blocks');
    }
    expect(await reader.readFloat32('norm', { start: 1, count: 1 })).toEqual(Float32Array.of(2));
    await expect(reader.readBlocks('norm')).rejects.toThrow('expected a quantised tensor');
  });

  const bytes = (shape: number[], dtype: 'U8' | 'I8' | 'F16' | 'BF16') => {
    const size = shape.reduce((a, b) => a * b, dtype.endsWith('16') ? 2 : 1);
    return { dtype, shape, data: new Uint8Array(size) };
  };
  const changed = (name: string, tensor?: TensorData) => {
    const tensors = good();
    tensors.delete(name);
    return tensor === undefined ? tensors : tensors.set(name, tensor);
  };
  it.each([
    ['scales that are missing', changed('b_scale'), 'b, q4_0, U8 [2, 2, 16], has no b_scale'],
    ['scales of another shape', changed('a.0.w_scale', bytes([3, 1], 'F16')), 'instead of F16 [3, 2]'],
    ['scales of another type', changed('a.0.w_scale', bytes([3, 2], 'BF16')), 'instead of F16 [3, 2]'],
    ['integers of another type', changed('b', bytes([2, 2, 16], 'I8')), 'b, q4_0, I8 [2, 2, 16], is no such'],
    ['rows of no whole groups', changed('a.0.w', bytes([3, 48], 'I8')), 'is no such weight'],
    [
      'scales of no tensor',
      new Map([...changed('b'), ['b_scale', bytes([2], 'U8')]]),
      'b_scale is U8, and the config does not',
    ],
    ['integers that are not named', changed('c', bytes([32], 'I8')), 'c is I8, and the config does not'],
    ['a named tensor that is missing', new Map([norm]), 'there is no tensor a.*.w'],
  ])('refuses %s', async (_, tensors, message) => {
    await expect(read(tensors)).rejects.toThrow(
      expect.objectContaining({ code: 'invalid-file', message: expect.stringContaining(message) }),
    );
  });

  it('refuses a tensor of two types', async () => {
    const twice = { ...config, tensors: { q8_0: ['a.*.w', 'b'], q4_0: ['a.0.w'] } };
    await expect(read(good(), twice)).rejects.toThrow('a.0.w is named as q8_0 (a.*.w) and q4_0 (a.0.w)');
  });
});

describe('a checkpoint in pieces', () => {
  it('is the one that is written at once, byte for byte, in one file and in shards', async () => {
    const tensors = good();
    for (const maxShardBytes of [1e9, 150]) {
      const out = join(folder, `pieces-${maxShardBytes}`);
      await newFolder(out, async (inside) => {
        const stream = await streamCheckpoint(inside, tensors, { maxShardBytes });
        for (const half of [0, 1])
          for (const [name, { data }] of tensors) {
            const { buffer, byteOffset, byteLength } = data as Uint8Array;
            const middle = byteLength >> 1;
            const [start, end] = half === 0 ? [0, middle] : [middle, byteLength];
            await stream.append(
              name,
              new Uint8Array(buffer as ArrayBuffer, byteOffset + start, end! - start!),
            );
          }
        await stream.finish();
        expect(stream.files).toHaveLength(maxShardBytes === 150 ? 2 : 1);
      });
      const checkpoint = await openCheckpoint(out);
      for (const [name, { data }] of tensors)
        expect(await checkpoint.read(name)).toEqual(
          new Uint8Array((data as Uint8Array).buffer as ArrayBuffer).slice(
            (data as Uint8Array).byteOffset,
            (data as Uint8Array).byteOffset + (data as Uint8Array).byteLength,
          ),
        );
      await checkpoint.close();
    }
    const { readFile } = await import('node:fs/promises');
    await writeSafetensors(join(folder, 'once'), tensors, { metadata: { format: 'pt' } });
    const file = await readFile(join(folder, 'pieces-1000000000', 'model.safetensors'));
    expect(file.equals(await readFile(join(folder, 'once')))).toBe(true);
  });

  it('is refused with too many bytes, too few, or of a tensor that was not announced', async () => {
    const out = join(folder, 'wrong');
    const failing = newFolder(out, async (inside) => {
      const stream = await streamCheckpoint(inside, { x: { dtype: 'F32', shape: [2] } });
      await expect(stream.append('y', new Uint8Array(1))).rejects.toThrow('announced');
      await expect(stream.append('x', new Uint8Array(9))).rejects.toThrow('at most 8 more bytes of x, got 9');
      await stream.append('x', new Float32Array(1));
      try {
        await stream.finish();
      } finally {
        await stream.close();
      }
    });
    await expect(failing).rejects.toThrow('all bytes of x, 8, got 4');
    expect((await readdir(folder)).filter((name) => name.includes('wrong'))).toEqual([]);
  });
});

describe('a new folder', () => {
  it('replaces nothing', async () => {
    const there = join(folder, 'there');
    await newFolder(there, (inside) => writeFile(join(inside, 'a'), 'a'));
    await expect(newFolder(there, async () => expect.unreachable())).rejects.toThrow('with 1 file;');
    await expect(newFolder(join(there, 'a'), async () => expect.unreachable())).rejects.toThrow('not there');
    expect(await readdir(there)).toEqual(['a']);
  });

  it('may stand in the place of an empty one, not of one that was filled meanwhile', async () => {
    const place = join(folder, 'place');
    await newFolder(place, async () => {});
    await newFolder(place, (inside) => writeFile(join(inside, 'b'), 'b'));
    expect(await readdir(place)).toEqual(['b']);
    const race = join(folder, 'race');
    const losing = newFolder(race, async () => {
      await newFolder(race, (inside) => writeFile(join(inside, 'first'), ''));
    });
    await expect(losing).rejects.toThrow('with 1 file');
    expect(await readdir(race)).toEqual(['first']);
  });
});
