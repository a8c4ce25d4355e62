/** The lightning indexer of sparse attention (DeepSeek-V3.2, section 2): scores of keys, and the choice of the best. */
import { dot } from './attention.ts';
import type { Kernels } from './kernel.ts';
import { largest } from './reductions.ts';

export const indexer: Pick<Kernels, 'indexerScores' | 'selectLargest'> = {
  indexerScores([q, weights, keys, ranges, y]) {
    const [rows, heads, width] = [q.shape[0]!, q.shape[1]!, q.shape[2]!];
    const size = keys.shape[0]!;
    for (let n = 0; n < rows; n++) {
      const [first, end] = [ranges.data[2 * n]!, ranges.data[2 * n + 1]!];
      for (let m = 0; m < size; m++) {
        let sum = 0;
        for (let h = 0; h < heads; h++) {
          const product = dot(q, (n * heads + h) * width, keys, m * width, width);
          sum += weights.data[n * heads + h]! * Math.max(product, 0);
        }
        y.data[n * size + m] = m >= first && m < end ? sum : -Infinity;
      }
    }
  },

  selectLargest([x, indices], { k }) {
    const width = x.shape[1]!;
    for (let n = 0; n < x.shape[0]!; n++) {
      const row = x.data.subarray(n * width, (n + 1) * width);
      const chosen = largest(row, k).filter((i) => row[i]! > -Infinity);
      indices.data.fill(-1, n * k, (n + 1) * k);
      indices.data.set(
        chosen.sort((a, b) => a - b),
        n * k,
      );
    }
  },
};
