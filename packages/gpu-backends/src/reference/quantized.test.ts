/**
 * Quantised weights in the reference: bytes by hand, blocks that tiles give back, and errors beside those of GGML's own
 * rounding (quantize_row_q8_0_ref and quantize_row_q4_0_ref of ggml-quants.c).
 */
import {
  type Attributes,
  CommandList,
  type DType,
  dequantizeBlocks,
  elementCount,
  float16ToFloat32,
  float32ToFloat16,
  type HostArray,
  inferOutputs,
  type OpName,
  Random,
  type Shape,
} from '@minke/core';
import { describe, expect, it } from 'vitest';
import { createReference } from './index.ts';
import { unpackGroups } from './quantized.ts';

interface Host {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: HostArray;
}
const backend = createReference();
const random = new Random(2);
const f32 = (shape: Shape, data: ArrayLike<number>): Host => ({
  dtype: 'f32',
  shape,
  data: Float32Array.from(data),
});

function call<O extends OpName>(op: O, inputs: readonly Host[], attributes: Attributes<O>): Host[] {
  const place = (t: { dtype: DType; shape: Shape }) => ({
    buffer: backend.allocate(t.dtype, elementCount(t.shape)),
    dtype: t.dtype,
    shape: t.shape,
    offset: 0,
  });
  const refs = inputs.map(place);
  refs.forEach(({ buffer }, i) => {
    backend.write(buffer, inputs[i]!.data);
  });
  const outputs = inferOutputs(op, inputs, attributes).map(place);
  const list = new CommandList();
  list.record(op, refs, outputs, attributes);
  backend.submit(list);
  return outputs.map(({ buffer, dtype, shape }) => ({ dtype, shape, data: backend.readSync(buffer) }));
}

const half = (x: number): number => float16ToFloat32(float32ToFloat16(Float32Array.of(x)))[0]!;

/** Numbers of a weight, block by block, as tiles hold them. */
const numbersOf = (packed: Host, columns: number): number[] =>
  unpackGroups(packed, columns)
    .flat()
    .flatMap(({ scale, integers }) => integers.map((q) => scale * q));

/** Numbers as GGML rounds them: the integers by the scale before it is rounded to f16. */
function ggml(x: HostArray, to: 'q8_0' | 'q4_0'): number[] {
  const out: number[] = [];
  for (let at = 0; at < x.length; at += 32) {
    const block = Array.from(x.subarray(at, at + 32) as Float32Array);
    const largest = block.reduce((m, v) => (Math.abs(v) > Math.abs(m) ? v : m), 0);
    const d = to === 'q8_0' ? Math.abs(largest) / 127 : largest / -8;
    for (const v of block) {
      const scaled = d === 0 ? 0 : v / d;
      const q = to === 'q8_0' ? Math.round(scaled) : Math.min(15, Math.floor(scaled + 8.5)) - 8;
      out.push(half(d) * q);
    }
  }
  return out;
}

const squaredError = (a: HostArray, b: readonly number[]): number =>
  b.reduce((sum, value, i) => sum + (a[i]! - value) ** 2, 0);

describe('quantised weights', () => {
  it('are GGUF blocks: an f16 scale, then bytes or halves of bytes', () => {
    const ramp = f32(
      [32],
      Array.from({ length: 32 }, (_, i) => i - 16),
    );
    const [four] = call(
      'quantize',
      [{ ...ramp, data: ramp.data.map((v) => Math.trunc(v / 2)) as HostArray }],
      {
        to: 'q4_0',
      },
    );
    // -8 .. 7 with the scale 1: element i in the lower half of byte i, element i + 16 in the upper.
    expect(Array.from(four!.data.slice(0, 5))).toEqual([0, 0x3c, 0x80, 0x81, 0x91]);
    expect(four!.data[17]).toBe(0xf8);
    const [eight] = call(
      'quantize',
      [
        f32(
          [32],
          Array.from({ length: 32 }, (_, i) => (i === 3 ? -127 : i)),
        ),
      ],
      {
        to: 'q8_0',
      },
    );
    expect(Array.from(eight!.data.slice(0, 7))).toEqual([0, 0x3c, 0, 1, 2, 0x81, 4]);
  });

  it('come back from tiles as they were, of every byte there is', () => {
    for (const [dtype, bytes] of [
      ['q8_0', 34],
      ['q4_0', 18],
    ] as const) {
      const data = Uint8Array.from({ length: 40 * 2 * bytes }, () => random.integer(0, 256));
      const scale = new Uint8Array(float32ToFloat16(Float32Array.of(0.5)).buffer);
      for (let at = 0; at < data.length; at += bytes) data.set(scale, at);
      const [tiles] = call('packQuantized', [{ dtype, shape: [40, 64], data }], {});
      expect(tiles!.data.length).toBe(2 * 2 * 32 * bytes);
      const want = Array.from({ length: 40 * 64 }, (_, i) => {
        const block = data.subarray(Math.floor(i / 32) * bytes + 2);
        const k = i % 32;
        if (dtype === 'q8_0') return ((block[k]! << 24) >> 24) * 0.5;
        return ((k < 16 ? block[k]! & 15 : block[k - 16]! >> 4) - 8) * 0.5;
      });
      expect(numbersOf(tiles!, 40)).toEqual(want);
    }
  });

  it('are nearer to normal and heavy-tailed numbers than as GGML rounds them, in no block further', () => {
    const normal = Float32Array.from({ length: 64 * 256 }, () => 0.02 * random.normal());
    const chi = () => Math.sqrt([0, 0, 0].reduce((sum) => sum + random.normal() ** 2, 0) / 3);
    for (const data of [normal, normal.map((z) => z / chi())]) {
      for (const [to, bar] of [
        ['q8_0', 0.92],
        ['q4_0', 0.95],
      ] as const) {
        const [tiles] = call('packQuantized', call('quantize', [f32([64, 256], data)], { to }), {});
        const [ours, theirs] = [numbersOf(tiles!, 64), ggml(data, to)];
        expect(squaredError(data, ours) / squaredError(data, theirs), to).toBeLessThan(bar);
        for (let at = 0; at < data.length; at += 32) {
          const block = data.subarray(at, at + 32);
          const error = squaredError(block, ours.slice(at, at + 32));
          expect(error).toBeLessThanOrEqual(squaredError(block, theirs.slice(at, at + 32)) * (1 + 1e-9));
        }
      }
    }
  });

  it('keep to finite scales, and say NaN for what is not finite', () => {
    const [huge] = call('quantize', [f32([32], new Array<number>(32).fill(3e38))], { to: 'q8_0' });
    expect(Array.from(huge!.data.slice(0, 3))).toEqual([0xff, 0x7b, 127]);
    for (const odd of [NaN, Infinity]) {
      const [blocks] = call('quantize', [f32([32], [odd, ...new Array<number>(31).fill(1)])], { to: 'q8_0' });
      expect(Array.from(blocks!.data.slice(0, 4))).toEqual([0, 0x7e, 0, 0]);
      const [rows, scales] = call(
        'quantizeRows',
        [f32([1, 32], [odd, ...new Array<number>(31).fill(1)])],
        {},
      );
      expect([scales!.data[0], rows!.data[1]]).toEqual([NaN, 0]);
    }
  });

  it('activations go to the nearest even of 127 steps', () => {
    const x = [127, -127, 0.5, 1.5, -2.5, 3.49, ...new Array<number>(26).fill(0)];
    const [rows, scales] = call('quantizeRows', [f32([1, 32], x)], {});
    expect(scales!.data[0]).toBe(1);
    expect(Array.from(new Int8Array((rows!.data as Uint8Array).buffer)).slice(0, 6)).toEqual([
      127, -127, 0, 2, -2, 3,
    ]);
    const [w] = call(
      'packQuantized',
      call('quantize', [f32([1, 32], x.map(Math.trunc))], { to: 'q8_0' }),
      {},
    );
    // 127^2 twice, 2 x 1, 2 x 2, 3 x 3.
    expect(call('matmulQuantized', [rows!, scales!, w!], { columns: 1 })[0]!.data[0]).toBe(2 * 127 ** 2 + 15);
  });

  it('say what does not fit', () => {
    const record = <O extends OpName>(
      op: O,
      shapes: readonly (readonly [DType, Shape])[],
      attributes: Attributes<O>,
    ) =>
      inferOutputs(
        op,
        shapes.map(([dtype, shape]) => ({ dtype, shape })),
        attributes,
      );
    expect(() => record('quantize', [['f32', [4, 33]]], { to: 'q4_0' })).toThrow('a multiple of 32');
    expect(() => record('quantizeRows', [['f32', [4, 31]]], {})).toThrow('a multiple of 32');
    expect(() => record('packQuantized', [['f32', [4, 32]]], {})).toThrow('w to be q8_0 or q4_0');
    const product = (scales: Shape, tiles: Shape, columns: number) =>
      record(
        'matmulQuantized',
        [
          ['i8', [3, 64]],
          ['f32', scales],
          ['q4_0', tiles],
        ],
        { columns },
      );
    expect(product([3, 2], [2, 2, 1024], 33)[0]!.shape).toEqual([3, 33]);
    expect(() => product([3, 1], [2, 2, 1024], 33)).toThrow('scales [M, K / 32]');
    expect(() => product([3, 2], [2, 2, 1024], 65)).toThrow('[3, 2, 1024]');
    expect(() => product([3, 2], [2, 3, 1024], 64)).toThrow('[2, 2, 1024]');
    expect(() => product([3, 2], [2, 2, 1024], -1)).toThrow('columns from 0 on');
  });
});

it('products of the absorbed form with blocks are those with the numbers of the blocks', () => {
  const normals = (shape: Shape) =>
    f32(
      shape,
      Float32Array.from({ length: elementCount(shape) }, () => random.normal()),
    );
  const [blocks] = call('quantize', [normals([2, 7, 64])], { to: 'q8_0' });
  const w = f32([2, 7, 64], dequantizeBlocks('Q8_0', blocks!.data as Uint8Array));
  const [q, z] = [normals([3, 2, 6]), normals([3, 2, 64])];
  const [nope, start] = [4, 4];
  expect(call('absorbQueryQuantized', [q, blocks!], { nope })).toEqual(call('absorbQuery', [q, w], { nope }));
  expect(call('absorbOutputQuantized', [z, blocks!], { start })).toEqual(
    call('absorbOutput', [z, w], { start }),
  );
});
