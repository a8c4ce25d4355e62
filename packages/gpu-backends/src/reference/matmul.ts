/** Matrix products of rank 2 or batched rank 3, either side transposed; packed weights and bf16 on the right. */
import type { Kernels, Tensor } from './kernel.ts';
import { bfloatOperand, pack, unpack } from './weights.ts';

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

type Op =
  | 'matmul'
  | 'matmulInto'
  | 'matmulBf16'
  | 'packWeight'
  | 'packWeightBf16'
  | 'matmulPacked'
  | 'matmulPackedBf16';

function assign(a: Tensor, b: Tensor, transA: number, transB: number, c: Tensor): void {
  product(a, b, transA, transB, c, (position, sum) => {
    c.data[position] = sum;
  });
}

export const matmul: Pick<Kernels, Op> = {
  matmul([a, b, c], { transA, transB }) {
    assign(a, b, transA, transB, c);
  },

  matmulBf16([a, b, c], { transA, transB }) {
    assign(bfloatOperand(a), bfloatOperand(b), transA, transB, c);
  },

  packWeight([w, packed]) {
    pack(w, packed);
  },

  packWeightBf16([w, packed]) {
    pack(w, packed);
  },

  matmulPacked([x, w, y], { columns }) {
    assign(x, unpack(w, columns, x.shape[1]!), 0, 1, y);
  },

  matmulPackedBf16([x, w, y], { columns }) {
    assign(bfloatOperand(x), unpack(w, columns, x.shape[1]!), 0, 1, y);
  },

  matmulInto([a, b, c], { transA, transB }) {
    product(a, b, transA, transB, c, (position, sum) => {
      c.data[position] = c.data[position]! + sum;
    });
  },
};
