/**
 * Routing of a mixture of experts: selection limited to groups (DeepSeek-V3, arXiv 2412.19437, section 2.1.2),
 * scores and weights around it with their gradient, the sorted plan, and counts.
 */
import { sigmoid } from './elementwise.ts';
import { type Kernels, roundingLike, type Tensor } from './kernel.ts';
import { largest } from './reductions.ts';

interface Selection {
  readonly k: number;
  readonly groups: number;
  readonly topGroups: number;
  readonly groupScore: 'max' | 'top2Sum';
}

/** The chosen experts of each row, ascending. */
function select(scores: Tensor, bias: Tensor, indices: Tensor, selection: Selection): void {
  const { k, groups, topGroups, groupScore } = selection;
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
    const candidates = staying.flatMap((g) => Array.from({ length: groupSize }, (_, i) => g * groupSize + i));
    const chosen = largest(
      candidates.map((e) => choice[e]!),
      k,
    ).map((i) => candidates[i]!);
    indices.data.set(
      chosen.sort((a, b) => a - b),
      n * k,
    );
  }
}

export const routing: Pick<Kernels, 'routeSelect' | 'route' | 'routeGrad' | 'expertPlan' | 'histogram'> = {
  routeSelect([scores, bias, indices], selection) {
    select(scores, bias, indices, selection);
  },

  route([logits, bias, scores, indices, weights], { scoring, normalise, scale, ...selection }) {
    const experts = bias.data.length;
    const { k } = selection;
    for (let n = 0; n < logits.shape[0]!; n++) {
      const row = Array.from(logits.data.subarray(n * experts, (n + 1) * experts) as Float64Array);
      const max = Math.max(...row);
      const total = row.reduce((sum, x) => sum + Math.exp(x - max), 0);
      const score = (x: number) => {
        if (scoring === 'sigmoid') return sigmoid(x);
        return max === -Infinity ? 0 : Math.exp(x - max) / total;
      };
      scores.data.set(row.map(score), n * experts);
    }
    select(scores, bias, indices, selection);
    for (let n = 0; n < logits.shape[0]!; n++) {
      const chosen = Array.from(
        { length: k },
        (_, j) => scores.data[n * experts + indices.data[n * k + j]!]!,
      );
      const total = normalise ? chosen.reduce((sum, x) => sum + x, 0) + 1e-20 : 1;
      weights.data.set(
        chosen.map((x) => (scale * x) / total),
        n * k,
      );
    }
  },

  routeGrad([scores, indices, dweights, dscores, dlogits], { scoring, normalise, scale }) {
    const [rows, experts, k] = [scores.shape[0]!, scores.shape[1]!, indices.shape[1]!];
    for (let n = 0; n < rows; n++) {
      const s = scores.data.subarray(n * experts, (n + 1) * experts);
      const ds = Float64Array.from(dscores.data.subarray(n * experts, (n + 1) * experts) as Float64Array);
      const pairs = Array.from({ length: k }, (_, j) => n * k + j).filter(
        (i) => indices.data[i]! >= 0 && indices.data[i]! < experts,
      );
      const total = pairs.reduce((sum, i) => sum + s[indices.data[i]!]!, 0) + 1e-20;
      const along = pairs.reduce((sum, i) => sum + dweights.data[i]! * s[indices.data[i]!]!, 0);
      for (const i of pairs) {
        const e = indices.data[i]!;
        const dw = dweights.data[i]!;
        ds[e] = ds[e]! + (normalise ? (scale / total) * (dw - along / total) : scale * dw);
      }
      const mean = ds.reduce((sum, d, e) => sum + d * s[e]!, 0);
      for (let e = 0; e < experts; e++)
        dlogits.data[n * experts + e] =
          scoring === 'softmax' ? s[e]! * (ds[e]! - mean) : ds[e]! * s[e]! * (1 - s[e]!);
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
};
