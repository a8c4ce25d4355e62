/**
 * Mixture of experts: selection limited to groups (DeepSeek-V3, arXiv 2412.19437, section 2.1.2), the sorted
 * plan, products over each expert's rows, and the weighted combination with its gradient.
 *
 * The plan's arrays are index data and not trusted: row ranges are clamped, slots out of range are skipped.
 */
import { type Kernels, roundingLike, type Tensor } from './kernel.ts';
import { largest } from './reductions.ts';
import { bfloatOperand, unpack } from './weights.ts';

/** Expert e's rows, clamped to the `rows` there are. */
function rowsOf(offsets: Tensor, e: number, rows: number): [first: number, end: number] {
  return [Math.max(offsets.data[e]!, 0), Math.min(offsets.data[e + 1]!, rows)];
}

function grouped(x: Tensor, w: Tensor, offsets: Tensor, y: Tensor, transW: number): void {
  const [rows, k, n] = [x.shape[0]!, x.shape[1]!, y.shape[1]!];
  y.data.fill(0);
  for (let e = 0; e < w.shape[0]!; e++) {
    const [first, end] = rowsOf(offsets, e, rows);
    for (let r = first; r < end; r++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let p = 0; p < k; p++)
          sum += x.data[r * k + p]! * w.data[e * n * k + (transW ? j * k + p : p * n + j)]!;
        y.data[r * n + j] = sum;
      }
    }
  }
}

export const experts: Pick<
  Kernels,
  | 'routeSelect'
  | 'expertPlan'
  | 'histogram'
  | 'groupedMatmul'
  | 'groupedMatmulBf16'
  | 'groupedMatmulPacked'
  | 'groupedMatmulPackedBf16'
  | 'groupedMatmulGradWeight'
  | 'moeCombine'
  | 'moeCombineGrad'
> = {
  routeSelect([scores, bias, indices], { k, groups, topGroups, groupScore }) {
    const count = bias.data.length;
    const groupSize = count / groups;
    // Ties are decided on values rounded to storage, as every backend sees them.
    const choice = roundingLike(scores.data, count);
    const groupScores = roundingLike(scores.data, groups);
    for (let n = 0; n < scores.shape[0]!; n++) {
      for (let e = 0; e < count; e++) {
        choice[e] = scores.data[n * count + e]! + bias.data[e]!;
        if (Number.isNaN(choice[e]!)) choice[e] = -Infinity;
      }
      for (let g = 0; g < groups; g++) {
        const group = choice.subarray(g * groupSize, (g + 1) * groupSize);
        groupScores[g] = largest(group, groupScore === 'max' ? 1 : 2).reduce((sum, i) => sum + group[i]!, 0);
      }
      const staying = largest(groupScores, topGroups).sort((a, b) => a - b);
      const candidates = staying.flatMap((g) =>
        Array.from({ length: groupSize }, (_, i) => g * groupSize + i),
      );
      const chosen = largest(
        candidates.map((e) => choice[e]!),
        k,
      ).map((i) => candidates[i]!);
      indices.data.set(
        chosen.sort((a, b) => a - b),
        n * k,
      );
    }
  },

  expertPlan([indices, offsets, rows, slots], { experts }) {
    const perToken = indices.shape[1]!;
    let next = 0;
    rows.data.fill(-1);
    slots.data.fill(-1);
    for (let e = 0; e < experts; e++) {
      offsets.data[e] = next;
      indices.data.forEach((index, pair) => {
        if (index !== e) return;
        rows.data[next] = Math.floor(pair / perToken);
        slots.data[pair] = next++;
      });
    }
    offsets.data[experts] = next;
  },

  histogram([ids, counts], { size }) {
    counts.data.fill(0);
    for (const id of ids.data) if (id >= 0 && id < size) counts.data[id] = counts.data[id]! + 1;
  },

  groupedMatmul([x, w, offsets, y], { transW }) {
    grouped(x, w, offsets, y, transW);
  },

  groupedMatmulBf16([x, w, offsets, y], { transW }) {
    grouped(bfloatOperand(x), bfloatOperand(w), offsets, y, transW);
  },

  groupedMatmulPacked([x, w, offsets, y], { columns }) {
    grouped(x, unpack(w, columns, x.shape[1]!), offsets, y, 1);
  },

  groupedMatmulPackedBf16([x, w, offsets, y], { columns }) {
    grouped(bfloatOperand(x), unpack(w, columns, x.shape[1]!), offsets, y, 1);
  },

  groupedMatmulGradWeight([dy, x, offsets, dw]) {
    const [rows, n, k] = [x.shape[0]!, dy.shape[1]!, x.shape[1]!];
    for (let e = 0; e < dw.shape[0]!; e++) {
      const [first, end] = rowsOf(offsets, e, rows);
      for (let j = 0; j < n; j++) {
        for (let p = 0; p < k; p++) {
          let sum = 0;
          for (let r = first; r < end; r++) sum += dy.data[r * n + j]! * x.data[r * k + p]!;
          const to = (e * n + j) * k + p;
          dw.data[to] = dw.data[to]! + sum;
        }
      }
    }
  },

  moeCombine([y, weights, slots, out]) {
    const [rows, width] = [y.shape[0]!, y.shape[1]!];
    const [tokens, perToken] = [slots.shape[0]!, slots.shape[1]!];
    for (let n = 0; n < tokens; n++) {
      for (let d = 0; d < width; d++) {
        let sum = 0;
        for (let k = 0; k < perToken; k++) {
          const slot = slots.data[n * perToken + k]!;
          if (slot >= 0 && slot < rows) sum += weights.data[n * perToken + k]! * y.data[slot * width + d]!;
        }
        out.data[n * width + d] = sum;
      }
    }
  },

  moeCombineGrad([y, weights, slots, dout, dy, dweights]) {
    const [rows, width] = [y.shape[0]!, y.shape[1]!];
    const perToken = slots.shape[1]!;
    dy.data.fill(0);
    slots.data.forEach((slot, pair) => {
      const n = Math.floor(pair / perToken);
      let sum = 0;
      if (slot >= 0 && slot < rows) {
        for (let d = 0; d < width; d++) {
          dy.data[slot * width + d] = weights.data[pair]! * dout.data[n * width + d]!;
          sum += y.data[slot * width + d]! * dout.data[n * width + d]!;
        }
      }
      dweights.data[pair] = sum;
    });
  },
};
