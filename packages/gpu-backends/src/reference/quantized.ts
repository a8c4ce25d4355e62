/**
 * Weights as blocks of 8 and 4 bit integers, their tiles, activations as bytes, and products of the two.
 *
 * What `quantize` and `quantizeRows` give is the same to the bit on every backend, so their arithmetic is written out as
 * the kernels have it: f64 without fused multiply-adds, sums by four interleaved parts.
 */
import { type DType, dequantizeBlocks, elementCount, float16ToFloat32, float32ToFloat16 } from '@minke/core';
import { silu } from './elementwise.ts';
import { experts } from './experts.ts';
import type { Kernels, Tensor } from './kernel.ts';

const group = 32;
const tileColumns = 32;

const halfToNumber = (bits: number): number => float16ToFloat32(Uint16Array.of(bits))[0]!;
/** An f64 number as f16: rounded to f32, kept within the finite numbers, rounded to f16. */
const halfOf = (x: number): number =>
  float32ToFloat16(Float32Array.of(Math.min(Math.max(Math.fround(x), -65504), 65504)))[0]!;
const nanHalf = 0x7e00;

/** Nearest even, of numbers below 2^51. */
const magic = 1.5 * 2 ** 52;
const nearest = (x: number): number => x + magic - magic;

/** Divisors of the largest number that are tried as a block's scale, and the range of its integers. */
const formats = {
  q8_0: { bytes: 34, divisors: [127, 126, 125, 124, 123, 122, 121, 120, 119], low: -127, high: 127 },
  q4_0: { bytes: 18, divisors: [-8.5, -8.25, -8, -7.75, -7.5, -7.25, -7, -6.75, -6.5], low: -8, high: 7 },
} as const;
type Blocks = keyof typeof formats;
const asBlocks = (dtype: DType): Blocks => (dtype === 'q8_0' ? 'q8_0' : 'q4_0');

function sumOfFour(term: (i: number) => number): number {
  const parts = [0, 0, 0, 0];
  for (let i = 0; i < group; i++) parts[i % 4] = parts[i % 4]! + term(i);
  return parts[0]! + parts[2]! + (parts[1]! + parts[3]!);
}

/** The f16 scale of 32 numbers and their integers. */
function quantizeBlock(x: readonly number[], to: Blocks): { scale: number; integers: number[] } {
  if (!x.every(Number.isFinite)) return { scale: nanHalf, integers: x.map(() => 0) };
  const { divisors, low, high } = formats[to];
  const integersOf = (scale: number): number[] => {
    const d = halfToNumber(scale);
    const inverse = d !== 0 ? 1 / d : 0;
    return x.map((value) => nearest(Math.min(Math.max(value * inverse, low), high)));
  };
  let largest = 0;
  for (const value of x)
    if (Math.abs(value) > Math.abs(largest)) largest = to === 'q4_0' ? value : Math.abs(value);
  const total = sumOfFour((i) => x[i]! * x[i]!);
  let best = { scale: 0, error: Infinity };
  for (const divisor of divisors) {
    const q = integersOf(halfOf(largest / divisor));
    const cross = sumOfFour((i) => x[i]! * q[i]!);
    const own = sumOfFour((i) => q[i]! * q[i]!);
    if (own === 0) continue;
    const scale = halfOf(cross / own);
    const d = halfToNumber(scale);
    const error = total - 2 * d * cross + d * d * own;
    if (error < best.error) best = { scale, error };
  }
  return { scale: best.scale, integers: integersOf(best.scale) };
}

/** A block's bytes, without its scale. */
function encode(integers: readonly number[], to: Blocks): number[] {
  if (to === 'q8_0') return integers.map((q) => q & 0xff);
  return integers.slice(0, 16).map((q, i) => (q + 8) | ((integers[i + 16]! + 8) << 4));
}

/** Integers and scale of one column and group of a packed weight. */
interface Group {
  readonly scale: number;
  readonly integers: number[];
}

/** Where the parts of a block lie in tiles: bytes of column c's step s, and its scale. */
const layout = {
  q8_0: { steps: 8, bytes: tileColumns * 34, offset: 128 },
  q4_0: { steps: 4, bytes: tileColumns * 18, offset: 8 },
} as const;

/** Reads a packed weight [..., T, G, 1024] of `columns` columns, group by group. */
export function unpackGroups(packed: Tensor, columns: number, e = 0): Group[][] {
  const type = asBlocks(packed.dtype);
  const { steps, bytes, offset } = layout[type];
  const [tiles, groups] = packed.shape.slice(-3) as [number, number];
  const data = packed.data as Uint8Array;
  return Array.from({ length: columns }, (_, n) =>
    Array.from({ length: groups }, (_, g) => {
      const base = ((e * tiles + Math.floor(n / tileColumns)) * groups + g) * bytes;
      const c = n % tileColumns;
      const at = (step: number, i: number) => data[base + (step * tileColumns + c) * 4 + i]!;
      const integers = Array.from({ length: group }, (_, k) => {
        if (type === 'q8_0') return at(k >> 2, k & 3) - offset;
        const byte = at((k & 15) >> 2, k & 3);
        return (k < 16 ? byte & 15 : byte >> 4) - offset;
      });
      const half = base + steps * 4 * tileColumns + 2 * c;
      return { scale: halfToNumber(data[half]! | (data[half + 1]! << 8)), integers };
    }),
  );
}

/** A tensor of blocks of 8 bits as numbers. */
export function numbersOf(w: Tensor): Tensor {
  return { ...w, dtype: 'f32', data: dequantizeBlocks('Q8_0', Uint8Array.from(w.data)) };
}

/** Signed bytes of an i8 tensor. */
const signed = ({ data }: Tensor): Int8Array => new Int8Array(Uint8Array.from(data).buffer);

function quantizeRow(x: ArrayLike<number>): { rows: number[]; scales: number[] } {
  const rows: number[] = [];
  const scales: number[] = [];
  for (let at = 0; at < x.length; at += group) {
    let largest = 0;
    let finite = true;
    for (let i = at; i < at + group; i++) {
      const value = Math.fround(x[i]!);
      finite &&= Number.isFinite(value);
      largest = Math.max(largest, Math.abs(value));
    }
    const scale = finite ? Math.fround(largest / 127) : NaN;
    scales.push(scale);
    for (let i = at; i < at + group; i++) {
      const value = Math.fround(Math.fround(x[i]!) / scale);
      rows.push(scale > 0 ? nearest(Math.min(Math.max(value, -127), 127)) : 0);
    }
  }
  return { rows, scales };
}

/** A row of bytes with its scales times each column of a weight. */
const timesRow = (rows: ArrayLike<number>, scales: ArrayLike<number>, w: readonly Group[][]): number[] =>
  w.map((column) => {
    let sum = 0;
    column.forEach(({ scale, integers }, g) => {
      let exact = 0;
      integers.forEach((q, k) => {
        exact += q * rows[g * group + k]!;
      });
      sum += exact * (scales[g]! * scale);
    });
    return sum;
  });

/** Rows first to end of a product. */
function product(rows: Tensor, scales: Tensor, w: readonly Group[][], y: Tensor, first: number, end: number) {
  const [width, groups] = [rows.shape[1]!, scales.shape[1]!];
  const bytes = signed(rows);
  for (let r = first; r < end; r++) {
    const scale = scales.data.subarray(r * groups, (r + 1) * groups);
    y.data.set(timesRow(bytes.subarray(r * width, (r + 1) * width), scale, w), r * w.length);
  }
}

export const quantized: Pick<
  Kernels,
  | 'quantize'
  | 'packQuantized'
  | 'quantizeRows'
  | 'matmulQuantized'
  | 'groupedMatmulQuantized'
  | 'gatherRowsQuantized'
  | 'moeFeedForwardQuantized'
> = {
  quantize([w, blocks], { to }) {
    const { bytes } = formats[to];
    for (let b = 0; b < w.data.length / group; b++) {
      const x = Array.from(w.data.subarray(b * group, (b + 1) * group) as Float64Array, Math.fround);
      const { scale, integers } = quantizeBlock(x, to);
      blocks.data.set([scale & 0xff, scale >> 8, ...encode(integers, to)], b * bytes);
    }
  },

  packQuantized([w, packed]) {
    const type = asBlocks(w.dtype);
    const [from, to] = [formats[type].bytes, layout[type]];
    const [rows, groups] = [w.shape.at(-2)!, w.shape.at(-1)! / group];
    const [tiles, experts] = [packed.shape.at(-3)!, w.shape.length === 3 ? w.shape[0]! : 1];
    packed.data.fill(0);
    for (let i = 0; i < experts * rows * groups; i++) {
      const [e, n, g] = [Math.floor(i / groups / rows), Math.floor(i / groups) % rows, i % groups];
      const base = ((e * tiles + Math.floor(n / tileColumns)) * groups + g) * to.bytes;
      const block = w.data.subarray(i * from, (i + 1) * from);
      packed.data.set(block.subarray(0, 2), base + (to.steps * 4 * tileColumns + 2 * (n % tileColumns)));
      block.subarray(2).forEach((byte, k) => {
        const at = base + ((k >> 2) * tileColumns + (n % tileColumns)) * 4 + (k & 3);
        packed.data[at] = type === 'q8_0' ? byte ^ 0x80 : byte;
      });
    }
  },

  quantizeRows([x, rows, scales]) {
    const result = quantizeRow(x.data);
    rows.data.set(result.rows.map((q) => q & 0xff));
    scales.data.set(result.scales);
  },

  matmulQuantized([rows, scales, w, y], { columns }) {
    product(rows, scales, unpackGroups(w, columns), y, 0, rows.shape[0]!);
  },

  groupedMatmulQuantized([rows, scales, w, offsets, y], { columns }) {
    y.data.fill(0);
    for (let e = 0; e < w.shape[0]!; e++) {
      const first = Math.max(offsets.data[e]!, 0);
      const end = Math.min(offsets.data[e + 1]!, rows.shape[0]!);
      if (first < end) product(rows, scales, unpackGroups(w, columns, e), y, first, end);
    }
  },

  gatherRowsQuantized([table, ids, y], { columns }) {
    const rows = unpackGroups(table, columns);
    const width = y.shape[1]!;
    y.data.fill(0);
    ids.data.forEach((id, n) => {
      const numbers = rows[id]?.flatMap(({ scale, integers }) => integers.map((q) => scale * q));
      if (numbers !== undefined) y.data.set(numbers, n * width);
    });
  },

  moeFeedForwardQuantized([x, weights, gate, up, down, sharedGate, sharedUp, sharedDown, ...rest]) {
    const [offsets, rows, slots, out] = rest;
    const [count, width] = x.shape as [number, number];
    const [f, s] = [down.shape[2]! * group, sharedDown.shape[1]! * group];
    const numbers = (values: number[]): Tensor => ({
      dtype: 'f32',
      shape: [values.length / width, width],
      data: Float64Array.from(values),
    });
    /** SwiGLU of one expert, both inputs rounded to bytes. */
    const feed = (input: ArrayLike<number>, [g, u, d]: readonly Group[][][]): number[] => {
      const token = quantizeRow(input);
      const ups = timesRow(token.rows, token.scales, u!);
      const gated = timesRow(token.rows, token.scales, g!).map((value, i) => silu(value) * ups[i]!);
      const hidden = quantizeRow(gated);
      return timesRow(hidden.rows, hidden.scales, d!);
    };
    const rowOf = (n: number) =>
      n >= 0 && n < count ? x.data.subarray(n * width, (n + 1) * width) : new Float64Array(width);
    const y = numbers(new Array<number>(rows.data.length * width).fill(0));
    for (let e = 0; e < gate.shape[0]!; e++) {
      const first = Math.max(offsets.data[e]!, 0);
      const end = Math.min(offsets.data[e + 1]!, rows.data.length);
      if (first >= end) continue;
      const matrices = [unpackGroups(gate, f, e), unpackGroups(up, f, e), unpackGroups(down, width, e)];
      for (let r = first; r < end; r++) y.data.set(feed(rowOf(rows.data[r]!), matrices), r * width);
    }
    const sums: Tensor = { ...out, data: new Float64Array(elementCount(out.shape)) };
    experts.moeCombine([y, weights, slots, sums], {});
    const shared = [unpackGroups(sharedGate, s), unpackGroups(sharedUp, s), unpackGroups(sharedDown, width)];
    for (let n = 0; n < count; n++) {
      const last = s > 0 ? feed(rowOf(n), shared) : [];
      for (let d = 0; d < width; d++) out.data[n * width + d] = sums.data[n * width + d]! + (last[d] ?? 0);
    }
  },
};
