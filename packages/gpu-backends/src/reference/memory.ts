/**
 * Data movement: fill, copy, casts, axis shuffles, and gathers and scatters by index.
 *
 * An index outside its table reads as zeros and is skipped on writes; scatters run in ascending order.
 */
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  type HostArray,
  MinkeError,
} from '@minke/core';
import { around, type Kernels, type Tensor } from './kernel.ts';

/** The numbers of a tensor of a castable type. */
function toNumbers({ dtype, data }: Tensor): HostArray {
  if (dtype === 'f32' || dtype === 'i32') return data;
  if (dtype !== 'bf16' && dtype !== 'f16')
    throw new MinkeError('unsupported', `cast: expected x in f32, i32, bf16 or f16, got ${dtype}`);
  const bits = new Uint16Array(data.slice().buffer as ArrayBuffer);
  return dtype === 'bf16' ? bfloat16ToFloat32(bits) : float16ToFloat32(bits);
}

/** To the nearest integer, ties to even, saturated to int32; NaN gives 0. */
function toInt32(x: number): number {
  if (Number.isNaN(x)) return 0;
  const floor = Math.floor(x);
  const rest = x - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
  return Math.min(Math.max(rounded, -0x80000000), 0x7fffffff);
}

/** Stores `numbers` into `y` in y's type. */
function storeNumbers(numbers: HostArray, y: Tensor): void {
  if (y.dtype === 'bf16' || y.dtype === 'f16') {
    const narrow = y.dtype === 'bf16' ? float32ToBfloat16 : float32ToFloat16;
    y.data.set(new Uint8Array(narrow(Float32Array.from(numbers)).buffer));
  } else {
    for (let i = 0; i < numbers.length; i++)
      y.data[i] = y.dtype === 'i32' ? toInt32(numbers[i]!) : numbers[i]!;
  }
}

export const memory: Pick<
  Kernels,
  | 'fill'
  | 'copyInto'
  | 'cast'
  | 'permute'
  | 'slice'
  | 'place'
  | 'concat'
  | 'repeat'
  | 'gatherRows'
  | 'scatterAddRows'
  | 'scatterRows'
  | 'gatherLast'
  | 'scatterLast'
> = {
  fill([x], { value }) {
    if (x.dtype === 'bf16' || x.dtype === 'f16') {
      storeNumbers(new Float64Array(x.data.length / 2).fill(value), x);
    } else if (x.dtype === 'f32') {
      x.data.fill(value);
    } else if (x.dtype === 'i32' || x.dtype === 'i8' || x.dtype === 'u8') {
      x.data.fill(toInt32(value));
    } else if (value === 0) {
      x.data.fill(0);
    } else {
      throw new MinkeError('invalid-argument', `fill: expected a number type or the value 0, got ${x.dtype}`);
    }
  },

  copyInto([source, destination]) {
    if (source.dtype !== destination.dtype)
      throw new MinkeError(
        'invalid-argument',
        `copyInto: expected one type, got ${source.dtype} into ${destination.dtype}; use cast`,
      );
    destination.data.set(source.data);
  },

  cast([x, y]) {
    storeNumbers(toNumbers(x), y);
  },

  permute([x, y], { p0, p1, p2, p3 }) {
    const rank = x.shape.length;
    const axes = [p0, p1, p2, p3].slice(0, rank);
    const strides = x.shape.map((_, axis) => around(x.shape, axis)[2]);
    const index = new Array<number>(rank).fill(0);
    for (let i = 0; i < y.data.length; i++) {
      let from = 0;
      for (let j = 0; j < rank; j++) from += index[j]! * strides[axes[j]!]!;
      y.data[i] = x.data[from]!;
      for (let j = rank - 1; j >= 0 && ++index[j]! === y.shape[j]; j--) index[j] = 0;
    }
  },

  slice([x, y], { axis, start, size }) {
    const [outer, length, inner] = around(x.shape, axis);
    for (let o = 0; o < outer; o++) {
      const from = (o * length + start) * inner;
      y.data.set(x.data.subarray(from, from + size * inner), o * size * inner);
    }
  },

  place([x, y], { axis, start, size }) {
    const [outer, length, inner] = around(x.shape, axis);
    y.data.fill(0);
    for (let o = 0; o < outer; o++) {
      const row = x.data.subarray(o * length * inner, (o + 1) * length * inner);
      y.data.set(row, (o * size + start) * inner);
    }
  },

  concat([a, b, y], { axis }) {
    const [outer, sizeA, inner] = around(a.shape, axis);
    const chunkA = sizeA * inner;
    const chunkB = b.shape[axis]! * inner;
    for (let o = 0; o < outer; o++) {
      const to = o * (chunkA + chunkB);
      y.data.set(a.data.subarray(o * chunkA, (o + 1) * chunkA), to);
      y.data.set(b.data.subarray(o * chunkB, (o + 1) * chunkB), to + chunkA);
    }
  },

  repeat([x, y], { axis, count }) {
    const [outer, , inner] = around(x.shape, axis);
    for (let o = 0; o < outer; o++)
      for (let c = 0; c < count; c++)
        y.data.set(x.data.subarray(o * inner, (o + 1) * inner), (o * count + c) * inner);
  },

  gatherRows([table, ids, y]) {
    const [rows, width] = [table.shape[0]!, table.shape[1]!];
    const numbers = toNumbers(table);
    y.data.fill(0);
    ids.data.forEach((id, n) => {
      if (id >= 0 && id < rows) y.data.set(numbers.subarray(id * width, (id + 1) * width), n * width);
    });
  },

  scatterAddRows([x, ids, table]) {
    const [rows, width] = [table.shape[0]!, table.shape[1]!];
    ids.data.forEach((id, n) => {
      if (id < 0 || id >= rows) return;
      for (let d = 0; d < width; d++)
        table.data[id * width + d] = table.data[id * width + d]! + x.data[n * width + d]!;
    });
  },

  scatterRows([x, ids, table]) {
    const [rows, width] = [table.shape[0]!, table.shape[1]!];
    ids.data.forEach((id, n) => {
      if (id >= 0 && id < rows) table.data.set(x.data.subarray(n * width, (n + 1) * width), id * width);
    });
  },

  gatherLast([x, indices, y]) {
    const [width, k] = [x.shape[1]!, indices.shape[1]!];
    indices.data.forEach((index, i) => {
      const n = Math.floor(i / k);
      y.data[i] = index >= 0 && index < width ? x.data[n * width + index]! : 0;
    });
  },

  scatterLast([x, indices, y], { size }) {
    const k = indices.shape[1]!;
    y.data.fill(0);
    indices.data.forEach((index, i) => {
      if (index < 0 || index >= size) return;
      const to = Math.floor(i / k) * size + index;
      y.data[to] = y.data[to]! + x.data[i]!;
    });
  },
};
