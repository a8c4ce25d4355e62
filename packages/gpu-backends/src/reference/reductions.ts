/** Reductions over an axis, softmax with its gradient, and the k largest of a row. */
import { around, type Kernels, lastSize } from './kernel.ts';

/** log sum exp of `row`, -inf for a row of only -inf or of nothing. */
export function logSumExp(row: ArrayLike<number>): number {
  let max = -Infinity;
  for (let i = 0; i < row.length; i++) max = Math.max(max, row[i]!);
  if (max === -Infinity) return -Infinity;
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += Math.exp(row[i]! - max);
  return max + Math.log(sum);
}

/** Indices of the `k` largest of `row`, descending; ties to the lowest index; NaN counts as -inf. */
export function largest(row: ArrayLike<number>, k: number): number[] {
  const value = (i: number) => (Number.isNaN(row[i]!) ? -Infinity : row[i]!);
  const order = Array.from(row, (_, i) => i);
  order.sort((i, j) => (value(i) === value(j) ? i - j : value(j) > value(i) ? 1 : -1));
  return order.slice(0, k);
}

export const reductions: Pick<Kernels, 'reduce' | 'sumSquares' | 'softmax' | 'softmaxGrad' | 'topK'> = {
  reduce([x, y], { kind, axis }) {
    const [outer, size, inner] = around(x.shape, axis);
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) {
        let result = kind === 'max' ? -Infinity : 0;
        for (let s = 0; s < size; s++) {
          const value = x.data[(o * size + s) * inner + i]!;
          result = kind === 'max' ? Math.max(result, value) : result + value;
        }
        y.data[o * inner + i] = kind === 'mean' && size > 0 ? result / size : result;
      }
    }
  },

  sumSquares([x, sum]) {
    let total = 0;
    for (const value of x.data) total += value * value;
    sum.data[0] = sum.data[0]! + total;
  },

  softmax([x, y], { kind }) {
    const width = lastSize(x.shape);
    for (let start = 0; start < x.data.length; start += width) {
      const row = x.data.subarray(start, start + width);
      const lse = logSumExp(row);
      for (let i = 0; i < width; i++) {
        const log = lse === -Infinity ? -Infinity : row[i]! - lse;
        y.data[start + i] = kind === 'log' ? log : Math.exp(log);
      }
    }
  },

  softmaxGrad([y, dy, dx], { kind }) {
    const width = lastSize(y.shape);
    for (let start = 0; start < y.data.length; start += width) {
      let sum = 0;
      for (let i = start; i < start + width; i++) sum += dy.data[i]! * (kind === 'log' ? 1 : y.data[i]!);
      for (let i = start; i < start + width; i++)
        dx.data[i] =
          kind === 'log' ? dy.data[i]! - Math.exp(y.data[i]!) * sum : y.data[i]! * (dy.data[i]! - sum);
    }
  },

  topK([x, values, indices], { k }) {
    const width = lastSize(x.shape);
    for (let n = 0; n < x.shape[0]!; n++) {
      const row = x.data.subarray(n * width, (n + 1) * width);
      largest(row, k).forEach((index, j) => {
        indices.data[n * k + j] = index;
        values.data[n * k + j] = Number.isNaN(row[index]!) ? -Infinity : row[index]!;
      });
    }
  },
};
