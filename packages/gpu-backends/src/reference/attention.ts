/**
 * Attention over a range of key rows per query, its gradient, the same range as an additive mask, and the
 * absorbed form of multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1), where one shared
 * latent row is key and value of every head.
 */
import type { Kernels, Tensor } from './kernel.ts';
import { logSumExp } from './reductions.ts';

/** Query n's key rows, clamped to the `rows` there are. */
function rangeOf(ranges: Tensor, n: number, rows: number): [first: number, end: number] {
  return [Math.max(ranges.data[2 * n]!, 0), Math.min(ranges.data[2 * n + 1]!, rows)];
}

/** Query n's key rows of both its ranges, in order. */
function prefixedRows(ranges: Tensor, n: number, rows: number): number[] {
  return [2 * n, 2 * n + 1].flatMap((part) => {
    const [first, end] = rangeOf(ranges, part, rows);
    return Array.from({ length: Math.max(end - first, 0) }, (_, i) => first + i);
  });
}

/** The product of `width` numbers of each. */
export function dot(a: Tensor, fromA: number, b: Tensor, fromB: number, width: number): number {
  let sum = 0;
  for (let c = 0; c < width; c++) sum += a.data[fromA + c]! * b.data[fromB + c]!;
  return sum;
}

/** to[at ..] += scale * from[start ..], `width` numbers, in f64. */
export function addScaled(
  to: Float64Array,
  at: number,
  scale: number,
  from: Tensor,
  start: number,
  width: number,
): void {
  for (let c = 0; c < width; c++) to[at + c] = to[at + c]! + scale * from.data[start + c]!;
}

export const attention: Pick<
  Kernels,
  'rangeMask' | 'attention' | 'attentionGrad' | 'prefixedAttention' | 'latentAttention'
> = {
  rangeMask([ranges, y], { size }) {
    for (let n = 0; n < ranges.shape[0]!; n++) {
      const [first, end] = rangeOf(ranges, n, size);
      for (let m = 0; m < size; m++) y.data[n * size + m] = m >= first && m < end ? 0 : -Infinity;
    }
  },

  attention([q, k, v, ranges, o, lse], { scale }) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const [keyRows, keyHeads, valueWidth] = [k.shape[0]!, k.shape[1]!, v.shape[2]!];
    for (let n = 0; n < rows; n++) {
      const [first, end] = rangeOf(ranges, n, keyRows);
      for (let h = 0; h < heads; h++) {
        const keyHead = Math.floor((h * keyHeads) / heads);
        const query = (n * heads + h) * width;
        const scores: number[] = [];
        for (let m = first; m < end; m++)
          scores.push(scale * dot(q, query, k, (m * keyHeads + keyHead) * width, width));
        const total = logSumExp(scores);
        const sum = new Float64Array(valueWidth);
        scores.forEach((score, i) => {
          const probability = total === -Infinity ? 0 : Math.exp(score - total);
          addScaled(sum, 0, probability, v, ((first + i) * keyHeads + keyHead) * valueWidth, valueWidth);
        });
        lse.data[n * heads + h] = total;
        o.data.set(sum, (n * heads + h) * valueWidth);
      }
    }
  },

  attentionGrad([q, k, v, ranges, o, lse, dout, dq, dk, dv], { scale }) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const [keyRows, keyHeads, valueWidth] = [k.shape[0]!, k.shape[1]!, v.shape[2]!];
    const sumQ = new Float64Array(dq.data.length);
    const sumK = new Float64Array(dk.data.length);
    const sumV = new Float64Array(dv.data.length);
    for (let n = 0; n < rows; n++) {
      const [first, end] = rangeOf(ranges, n, keyRows);
      for (let h = 0; h < heads; h++) {
        const total = lse.data[n * heads + h]!;
        if (total === -Infinity) continue;
        const keyHead = Math.floor((h * keyHeads) / heads);
        const query = (n * heads + h) * width;
        const output = (n * heads + h) * valueWidth;
        const delta = dot(dout, output, o, output, valueWidth);
        for (let m = first; m < end; m++) {
          const key = (m * keyHeads + keyHead) * width;
          const value = (m * keyHeads + keyHead) * valueWidth;
          const p = Math.exp(scale * dot(q, query, k, key, width) - total);
          const ds = p * (dot(dout, output, v, value, valueWidth) - delta) * scale;
          addScaled(sumV, value, p, dout, output, valueWidth);
          addScaled(sumQ, query, ds, k, key, width);
          addScaled(sumK, key, ds, q, query, width);
        }
      }
    }
    dq.data.set(sumQ);
    dk.data.set(sumK);
    dv.data.set(sumV);
  },

  prefixedAttention([q, k, v, ranges, o], { scale }) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const [keyRows, keyHeads, valueWidth] = [k.shape[0]!, k.shape[1]!, v.shape[2]!];
    for (let n = 0; n < rows; n++) {
      const seen = prefixedRows(ranges, n, keyRows);
      for (let h = 0; h < heads; h++) {
        const keyHead = Math.floor((h * keyHeads) / heads);
        const query = (n * heads + h) * width;
        const scores = seen.map((m) => scale * dot(q, query, k, (m * keyHeads + keyHead) * width, width));
        const total = logSumExp(scores);
        const sum = new Float64Array(valueWidth);
        seen.forEach((m, i) => {
          const probability = total === -Infinity ? 0 : Math.exp(scores[i]! - total);
          addScaled(sum, 0, probability, v, (m * keyHeads + keyHead) * valueWidth, valueWidth);
        });
        o.data.set(sum, (n * heads + h) * valueWidth);
      }
    }
  },

  latentAttention([q, cache, ranges, o], { scale, valueWidth }) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    for (let n = 0; n < rows; n++) {
      const [first, end] = rangeOf(ranges, n, cache.shape[0]!);
      for (let h = 0; h < heads; h++) {
        const scores: number[] = [];
        for (let m = first; m < end; m++)
          scores.push(scale * dot(q, (n * heads + h) * width, cache, m * width, width));
        const total = logSumExp(scores);
        const sum = new Float64Array(valueWidth);
        scores.forEach((score, i) => {
          const probability = total === -Infinity ? 0 : Math.exp(score - total);
          addScaled(sum, 0, probability, cache, (first + i) * width, valueWidth);
        });
        o.data.set(sum, (n * heads + h) * valueWidth);
      }
    }
  },
};
