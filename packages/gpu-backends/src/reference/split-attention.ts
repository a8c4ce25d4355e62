/**
 * Attention whose ranges have parts, with a bias on the far one and a sink, its gradient, and attention to rows that
 * each query names. One softmax: the bias moves far scores, the sink is a score without a value (as in gpt-oss).
 */
import { addScaled, dot } from './attention.ts';
import type { Kernels, Tensor } from './kernel.ts';
import { logSumExp } from './reductions.ts';

/** A key row, the number added to its score, and whether it counts at all. */
interface Key {
  readonly row: number;
  readonly bias: number;
  readonly far: boolean;
  readonly counts: boolean;
}

function keysOf(ranges: Tensor, bias: Tensor, n: number, pair: number, rows: number): Key[] {
  const [low, first, near, end] = [0, 1, 2, 3].map((i) => ranges.data[4 * n + i]!) as [
    number,
    number,
    number,
    number,
  ];
  const keys: Key[] = [];
  for (let row = Math.max(low, 0); row < Math.min(end, rows); row++) {
    const far = row < near;
    keys.push({ row, far, bias: far ? bias.data[pair]! : 0, counts: row >= first });
  }
  return keys;
}

export const splitAttention: Pick<Kernels, 'splitAttention' | 'splitAttentionGrad' | 'gatheredAttention'> = {
  splitAttention([q, k, v, ranges, bias, sink, o, lse], { scale, valueWidth }) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const [keyRows, keyHeads, stride] = [k.shape[0]!, k.shape[1]!, v.shape[2]!];
    for (let pair = 0; pair < rows * heads; pair++) {
      const h = pair % heads;
      const keyHead = Math.floor((h * keyHeads) / heads);
      const keys = keysOf(ranges, bias, Math.floor(pair / heads), pair, keyRows);
      const scores = keys.map(({ row, bias: added, counts }) =>
        counts
          ? scale * dot(q, pair * width, k, (row * keyHeads + keyHead) * width, width) + added
          : -Infinity,
      );
      const total = logSumExp([...scores, sink.data[h]!]);
      const none = logSumExp(scores) === -Infinity;
      const sum = new Float64Array(valueWidth);
      keys.forEach(({ row }, i) => {
        const p = none ? 0 : Math.exp(scores[i]! - total);
        addScaled(sum, 0, p, v, (row * keyHeads + keyHead) * stride, valueWidth);
      });
      lse.data[pair] = total;
      o.data.set(sum, pair * valueWidth);
    }
  },

  splitAttentionGrad([q, k, v, ranges, bias, o, lse, dout, dq, dk, dv, dbias], { scale }) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const [keyRows, keyHeads, valueWidth] = [k.shape[0]!, k.shape[1]!, v.shape[2]!];
    const sumQ = new Float64Array(dq.data.length);
    const sumK = new Float64Array(dk.data.length);
    const sumV = new Float64Array(dv.data.length);
    for (let pair = 0; pair < rows * heads; pair++) {
      let biasSum = 0;
      const keyHead = Math.floor(((pair % heads) * keyHeads) / heads);
      const [query, output] = [pair * width, pair * valueWidth];
      const delta = dot(dout, output, o, output, valueWidth);
      const total = lse.data[pair]!;
      const keys = total === -Infinity ? [] : keysOf(ranges, bias, Math.floor(pair / heads), pair, keyRows);
      for (const { row, bias: added, far, counts } of keys) {
        const [key, value] = [(row * keyHeads + keyHead) * width, (row * keyHeads + keyHead) * valueWidth];
        if (!counts) {
          addScaled(sumQ, query, 0, k, key, width);
          continue;
        }
        const p = Math.exp(scale * dot(q, query, k, key, width) + added - total);
        const slope = p * (dot(dout, output, v, value, valueWidth) - delta);
        if (far) biasSum += slope;
        addScaled(sumV, value, p, dout, output, valueWidth);
        addScaled(sumQ, query, slope * scale, k, key, width);
        addScaled(sumK, key, slope * scale, q, query, width);
      }
      dbias.data[pair] = biasSum;
    }
    dq.data.set(sumQ);
    dk.data.set(sumK);
    dv.data.set(sumV);
  },

  gatheredAttention([q, cache, rows, sink, o], { scale, valueWidth }) {
    const [queries, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const count = rows.shape[1]!;
    for (let n = 0; n < queries; n++) {
      const named = Array.from(rows.data.subarray(n * count, (n + 1) * count));
      const present = named.filter((row) => row >= 0 && row < cache.shape[0]!);
      for (let h = 0; h < heads; h++) {
        const scores = present.map(
          (row) => scale * dot(q, (n * heads + h) * width, cache, row * width, width),
        );
        const total = logSumExp([...scores, sink.data[h]!]);
        const none = logSumExp(scores) === -Infinity;
        const sum = new Float64Array(valueWidth);
        present.forEach((row, i) => {
          const p = none ? 0 : Math.exp(scores[i]! - total);
          addScaled(sum, 0, p, cache, row * width, valueWidth);
        });
        o.data.set(sum, (n * heads + h) * valueWidth);
      }
    }
  },
};
