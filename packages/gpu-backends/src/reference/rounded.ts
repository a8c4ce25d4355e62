/**
 * Caches that are stored rounded, in bf16 or in GGUF's blocks of 8 bits: writing their rows, and attention to what the
 * rows stand for.
 */
import { bfloat16ToFloat32, byteLength, type HostArray } from '@minke/core';
import { attention } from './attention.ts';
import type { Kernels, Tensor } from './kernel.ts';
import { memory } from './memory.ts';
import { numbersOf, quantized } from './quantized.ts';
import { operandsOf } from './weights.ts';

function numbers(cache: Tensor): HostArray {
  if (cache.dtype === 'f32') return cache.data;
  if (cache.dtype === 'q8_0') return numbersOf(cache).data;
  return bfloat16ToFloat32(new Uint16Array(Uint8Array.from(cache.data).buffer));
}

/** The first `width` numbers that each row of a cache stands for. */
export function widened(cache: Tensor, width: number): Tensor {
  const [rows, stored] = cache.shape as [number, number];
  const data = numbers(cache);
  return { dtype: 'f32', shape: [rows, width], data: stored === width ? data : columns(data, stored, width) };
}

/** The first `to` columns of rows of `from`, with zeros where there are more. */
function columns(data: HostArray, from: number, to: number): Float64Array {
  const rows = from === 0 ? 0 : data.length / from;
  const result = new Float64Array(rows * to);
  for (let n = 0; n < rows; n++) result.set(data.subarray(n * from, n * from + Math.min(from, to)), n * to);
  return result;
}

export const rounded: Pick<Kernels, 'storeRounded' | 'latentAttentionRounded' | 'attentionRounded'> = {
  storeRounded([table, x, ids, rows]) {
    const data = columns(x.data, x.shape[1]!, table.shape[1]!);
    const whole: Tensor = { dtype: 'f32', shape: rows.shape, data };
    if (table.dtype === 'q8_0') quantized.quantize([whole, rows], { to: 'q8_0' });
    else memory.cast([whole, rows], { to: 'bf16' });
    const [count, width] = [table.shape[0]!, byteLength(table.dtype, table.shape[1]!)];
    ids.data.forEach((id, n) => {
      if (id >= 0 && id < count) table.data.set(rows.data.subarray(n * width, (n + 1) * width), id * width);
    });
  },

  // Probabilities are not rounded here: what they are rounded by depends on the order of the sums.
  latentAttentionRounded([q, cache, ranges, o], { bfloat, ...attributes }) {
    const operand = operandsOf(bfloat);
    attention.latentAttention([operand(q), operand(widened(cache, q.shape[2]!)), ranges, o], attributes);
  },

  attentionRounded([q, k, v, ranges, o], { scale, keyHeads, valueWidth }) {
    const heads = (x: Tensor, width: number): Tensor => {
      const { data } = widened(x, keyHeads * width);
      return { dtype: 'f32', shape: [x.shape[0]!, keyHeads, width], data };
    };
    const [rows, queryHeads, width] = q.shape as [number, number, number];
    const lse: Tensor = {
      dtype: 'f32',
      shape: [rows, queryHeads],
      data: new Float64Array(rows * queryHeads),
    };
    attention.attention([q, heads(k, width), heads(v, valueWidth), ranges, o, lse], { scale });
  },
};
