/**
 * What multi-head latent attention does around attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): keys and
 * values of every head from their joint projection, with its gradient, the two products of the absorbed form, and
 * attention that expands latents itself.
 */
import { attention } from './attention.ts';
import type { Kernels } from './kernel.ts';
import { numbersOf } from './quantized.ts';
import { widened } from './rounded.ts';
import { operandsOf } from './weights.ts';

export const latent: Pick<
  Kernels,
  | 'expandKeys'
  | 'expandKeysGrad'
  | 'absorbQuery'
  | 'absorbOutput'
  | 'absorbQueryQuantized'
  | 'absorbOutputQuantized'
  | 'expandedAttention'
> = {
  expandKeys([up, shared, k, v], { nope }) {
    const [rows, heads, width] = [up.shape[0]!, up.shape[1]!, up.shape[2]!];
    const [rotary, keyWidth, valueWidth] = [shared.shape[1]!, k.shape[2]!, v.shape[2]!];
    for (let m = 0; m < rows; m++)
      for (let h = 0; h < heads; h++) {
        const row = m * heads + h;
        for (let c = 0; c < nope; c++) k.data[row * keyWidth + c] = up.data[row * width + c]!;
        for (let c = 0; c < rotary; c++) k.data[row * keyWidth + nope + c] = shared.data[m * rotary + c]!;
        for (let c = 0; c < valueWidth; c++) v.data[row * valueWidth + c] = up.data[row * width + nope + c]!;
      }
  },

  expandKeysGrad([dk, dv, dup, dshared], { nope }) {
    const [rows, heads, keyWidth] = [dk.shape[0]!, dk.shape[1]!, dk.shape[2]!];
    const [valueWidth, width, rotary] = [dv.shape[2]!, dup.shape[2]!, dshared.shape[1]!];
    for (let m = 0; m < rows; m++) {
      const sum = new Float64Array(rotary);
      for (let h = 0; h < heads; h++) {
        const row = m * heads + h;
        for (let c = 0; c < nope; c++) dup.data[row * width + c] = dk.data[row * keyWidth + c]!;
        for (let c = 0; c < valueWidth; c++)
          dup.data[row * width + nope + c] = dv.data[row * valueWidth + c]!;
        for (let c = 0; c < rotary; c++) sum[c] = sum[c]! + dk.data[row * keyWidth + nope + c]!;
      }
      dshared.data.set(sum, m * rotary);
    }
  },

  absorbQuery([q, w, y], { nope }) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const [height, rank, outWidth] = [w.shape[1]!, w.shape[2]!, y.shape[2]!];
    for (let row = 0; row < rows * heads; row++) {
      const h = row % heads;
      for (let r = 0; r < rank; r++) {
        let sum = 0;
        for (let i = 0; i < nope; i++) sum += q.data[row * width + i]! * w.data[(h * height + i) * rank + r]!;
        y.data[row * outWidth + r] = sum;
      }
      for (let c = nope; c < width; c++) y.data[row * outWidth + rank + c - nope] = q.data[row * width + c]!;
    }
  },

  absorbOutput([z, w, y], { start }) {
    const [rows, heads, rank] = [z.shape[0]!, z.shape[1]!, z.shape[2]!];
    const [height, width] = [w.shape[1]!, y.shape[2]!];
    for (let row = 0; row < rows * heads; row++)
      for (let j = 0; j < width; j++) {
        const from = ((row % heads) * height + start + j) * rank;
        let sum = 0;
        for (let r = 0; r < rank; r++) sum += z.data[row * rank + r]! * w.data[from + r]!;
        y.data[row * width + j] = sum;
      }
  },

  absorbQueryQuantized([q, w, y], attributes) {
    latent.absorbQuery([q, numbersOf(w), y], attributes);
  },

  absorbOutputQuantized([z, w, y], attributes) {
    latent.absorbOutput([z, numbersOf(w), y], attributes);
  },

  expandedAttention([q, stored, w, ranges, o], { scale, nope, bfloat }) {
    const operand = operandsOf(bfloat);
    const cache = operand(widened(stored, w.shape[2]! + q.shape[2]! - nope));
    const weights = operand(w.dtype === 'f32' ? w : numbersOf(w));
    const [heads, height, rank] = w.shape as [number, number, number];
    const [rows, width] = cache.shape as [number, number];
    const up = { ...w, dtype: 'f32', shape: [rows, heads, height] } as const;
    const shared = { ...up, shape: [rows, width - rank], data: new Float64Array(rows * (width - rank)) };
    const expanded = { ...up, data: new Float64Array(rows * heads * height) };
    for (let m = 0; m < rows; m++) {
      for (let i = 0; i < heads * height; i++) {
        let sum = 0;
        for (let r = 0; r < rank; r++) sum += cache.data[m * width + r]! * weights.data[i * rank + r]!;
        expanded.data[m * heads * height + i] = sum;
      }
      for (let c = rank; c < width; c++)
        shared.data[m * (width - rank) + c - rank] = cache.data[m * width + c]!;
    }
    const table = (each: number) => ({
      ...up,
      shape: [rows, heads, each],
      data: new Float64Array(rows * heads * each),
    });
    const [k, v] = [table(nope + width - rank), table(height - nope)];
    latent.expandKeys([expanded, shared, k, v], { nope });
    const lse = { ...up, shape: q.shape.slice(0, 2), data: new Float64Array(q.shape[0]! * heads) };
    attention.attention([operand(q), operand(k), operand(v), ranges, o, lse], { scale });
  },
};
