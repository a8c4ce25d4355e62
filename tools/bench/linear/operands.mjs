// Weights and inputs of the linear benchmark: one weight [N, K] repeated down the columns, as making more would take
// longer than measuring them, and products with it in f64 over the numbers it stands for.

import { float16ToFloat32 } from '../../../packages/core/dist/index.js';
import { hashed } from '../harness/numbers.mjs';

/** Rows of the weight that differ; N is a multiple. */
export const distinctRows = 256;

export const inputOf = ({ M, K }) => hashed('x', M * K, 4);

/** [distinctRows, K] in [-1/2, 1/2). */
export const weightOf = ({ K }) => hashed('w', distinctRows * K, 4);

/** Rows of GGUF blocks as numbers. */
export function numbersOf(blocks, bits) {
  const bytes = bits === 8 ? 34 : 18;
  const numbers = new Float32Array((blocks.length / bytes) * 32);
  for (let b = 0; b < blocks.length / bytes; b++) {
    const block = blocks.subarray(b * bytes, (b + 1) * bytes);
    const [scale] = float16ToFloat32(Uint16Array.of(block[0] | (block[1] << 8)));
    for (let k = 0; k < 32; k++) {
      const q =
        bits === 8 ? (block[2 + k] << 24) >> 24 : (k < 16 ? block[2 + k] & 15 : block[k - 14] >> 4) - 8;
      numbers[b * 32 + k] = scale * q;
    }
  }
  return numbers;
}

/**
 * Holds some outputs to the product in f64: `step` is the largest relative step that inputs are rounded to, 0 for
 * none. Rounding errors of K terms are independent: their sum is held to six standard deviations.
 */
export function checkOutputs({ M, N, K }, x, weight, y, step) {
  for (let spot = 0; spot < 64; spot++) {
    const [i, j] = [Math.floor(Math.random() * M), Math.floor(Math.random() * N)];
    const row = (j % distinctRows) * K;
    let [sum, size, spread] = [0, 0, 0];
    for (let k = 0; k < K; k++) {
      const term = x[i * K + k] * weight[row + k];
      sum += term;
      size += Math.abs(term);
      spread += weight[row + k] ** 2;
    }
    const bound = K * 2 ** -24 * size + 6 * step * Math.sqrt(spread);
    if (!(Math.abs(y[i * N + j] - sum) <= bound))
      throw new Error(`bench linear: expected ${sum} within ${bound} at [${i}, ${j}], got ${y[i * N + j]}`);
  }
}
