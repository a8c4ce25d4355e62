import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { dequantizeBlocks, quantizeBlocks } from './block-codecs.ts';
import { type BlockType, blockTypes, isBlockType } from './block-types.ts';
import { Random } from './philox.ts';

interface Fixture {
  readonly types: Readonly<Record<BlockType, { readonly blocks: string; readonly values: string }>>;
  readonly encode: Readonly<Record<'values' | 'Q8_0' | 'Q4_0', string>>;
}
// Written by tools/parity/gguf_blocks.py.
const fixture = JSON.parse(
  readFileSync(new URL('../fixtures/gguf-blocks.json', import.meta.url), 'utf8'),
) as Fixture;

const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, 'base64'));
const bitsOf = (values: Float32Array) => [...new Uint32Array(values.buffer)];
const floatsOf = (base64: string) => new Float32Array(bytesOf(base64).buffer);

describe('dequantizeBlocks', () => {
  it('has a fixture of every type', () => {
    expect(Object.keys(fixture.types).sort()).toEqual(Object.keys(blockTypes).sort());
  });

  it.each(Object.keys(blockTypes) as BlockType[])('decodes %s to the bits of the Python library', (type) => {
    const { blocks, values } = fixture.types[type];
    expect(bitsOf(dequantizeBlocks(type, bytesOf(blocks)))).toEqual(bitsOf(floatsOf(values)));
  });

  it.each(Object.keys(blockTypes) as BlockType[])('decodes any bytes of %s', (type) => {
    const random = new Random(5);
    const { blockBytes, blockSize } = blockTypes[type];
    const bytes = Uint8Array.from({ length: 64 * blockBytes }, () => random.uint32());
    expect(dequantizeBlocks(type, bytes).length).toBe(64 * blockSize);
    const out = new Float32Array(64 * blockSize);
    expect(dequantizeBlocks(type, bytes, out)).toBe(out);
  });

  it('refuses half a block and an output of another length', () => {
    expect(() => dequantizeBlocks('Q4_K', new Uint8Array(143))).toThrow(
      'dequantizeBlocks: expected a multiple of 144 bytes of Q4_K, got 143',
    );
    expect(() => dequantizeBlocks('Q8_0', new Uint8Array(34), new Float32Array(31))).toThrow(
      'expected an output of 32 numbers, got 31',
    );
  });
});

describe('quantizeBlocks', () => {
  it.each(['Q8_0', 'Q4_0'] as const)('encodes %s to the bytes of the Python library', (type) => {
    const blocks = quantizeBlocks(type, floatsOf(fixture.encode.values));
    expect([...blocks]).toEqual([...bytesOf(fixture.encode[type])]);
  });

  it.each([
    ['Q8_0', 0.5 / 127 + 2 ** -11], // half a step, and the rounding of the scale
    ['Q4_0', 1 / 8 + 2 ** -11], // the codes are not symmetric: 7 on one side, 8 on the other
  ] as const)('%s is off by at most %f of the largest number of a block', (type, step) => {
    const random = new Random(7);
    const values = Float32Array.from({ length: 4096 }, () => random.normal());
    const back = dequantizeBlocks(type, quantizeBlocks(type, values));
    for (let block = 0; block < values.length; block += 32) {
      const largest = Math.max(...values.subarray(block, block + 32).map(Math.abs));
      for (let i = block; i < block + 32; i++)
        expect(Math.abs(values[i]! - back[i]!)).toBeLessThanOrEqual(largest * step);
    }
  });

  it('refuses what a block cannot hold', () => {
    const with_ = (value: number) => new Float32Array(32).fill(1).fill(value, 9, 10);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -9e6])
      for (const type of ['Q8_0', 'Q4_0'] as const)
        expect(() => quantizeBlocks(type, with_(value))).toThrow(/expected finite numbers/);
    expect(() => quantizeBlocks('Q8_0', new Float32Array(33))).toThrow('expected a multiple of 32 numbers');
  });

  it('gives finite numbers for numbers too small for a scale', () => {
    for (const type of ['Q8_0', 'Q4_0'] as const) {
      const back = dequantizeBlocks(type, quantizeBlocks(type, new Float32Array(32).fill(1e-44)));
      expect(back.every((value) => Math.abs(value) < 1e-6)).toBe(true);
    }
  });
});

it('isBlockType knows its names and nothing of objects', () => {
  expect(isBlockType('Q6_K')).toBe(true);
  expect(isBlockType('constructor')).toBe(false);
});
