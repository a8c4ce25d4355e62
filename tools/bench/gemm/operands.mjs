// Operands of a product C [M, N] = A [M, K] B [K, N], and the bound its result is held to.

import { bfloat16ToFloat32, float32ToBfloat16 } from '../../../packages/core/dist/index.js';
import { hashed } from '../harness/numbers.mjs';

/** Numbers in [-1/2, 1/2). */
export function operandsOf({ M, N, K }) {
  return { a: hashed('a', M * K, 4), b: hashed('b', K * N, 4) };
}

/** The same numbers rounded to bf16. */
export const roundedToBf16 = (numbers) => bfloat16ToFloat32(float32ToBfloat16(numbers));

/** b [rows, columns] stored by columns. */
export function transposed(b, rows, columns) {
  const out = new Float32Array(b.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = b[i * columns + j];
  return out;
}

/** |error| <= K u sum |a b| on random outputs (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). */
export function checkProduct({ M, N, K }, { a, b }, result) {
  for (let spot = 0; spot < 64; spot++) {
    const i = Math.floor(Math.random() * M);
    const j = Math.floor(Math.random() * N);
    let sum = 0;
    let size = 0;
    for (let k = 0; k < K; k++) {
      const term = a[i * K + k] * b[k * N + j];
      sum += term;
      size += Math.abs(term);
    }
    const error = Math.abs(result[i * N + j] - sum);
    if (!(error <= K * 2 ** -24 * size))
      throw new Error(
        `bench gemm: expected ${sum} at [${i}, ${j}] of ${M}x${N}x${K}, got ${result[i * N + j]}`,
      );
  }
}
