/** Matrix products of rank 2 or batched rank 3, either side transposed. */
import type { Kernels, Tensor } from './kernel.ts';

/** Calls `store` with each element of op(a) op(b) and its position in c, sums over ascending k. */
function product(
  a: Tensor,
  b: Tensor,
  transA: number,
  transB: number,
  c: Tensor,
  store: (position: number, sum: number) => void,
): void {
  const batched = c.shape.length === 3 ? 1 : 0;
  const batches = batched ? c.shape[0]! : 1;
  const [m, n] = [c.shape[batched]!, c.shape[batched + 1]!];
  const k = a.shape[batched + (transA ? 0 : 1)]!;
  const [rowA, stepA] = transA ? [1, m] : [k, 1];
  const [columnB, stepB] = transB ? [k, 1] : [1, n];
  for (let batch = 0; batch < batches; batch++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        let fromA = batch * m * k + i * rowA;
        let fromB = batch * k * n + j * columnB;
        for (let p = 0; p < k; p++, fromA += stepA, fromB += stepB) sum += a.data[fromA]! * b.data[fromB]!;
        store((batch * m + i) * n + j, sum);
      }
    }
  }
}

export const matmul: Pick<Kernels, 'matmul' | 'matmulInto'> = {
  matmul([a, b, c], { transA, transB }) {
    product(a, b, transA, transB, c, (position, sum) => {
      c.data[position] = sum;
    });
  },

  matmulInto([a, b, c], { transA, transB }) {
    product(a, b, transA, transB, c, (position, sum) => {
      c.data[position] = c.data[position]! + sum;
    });
  },
};
