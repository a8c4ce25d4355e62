// The tiny GPT that JavaScript libraries can train: sizes, initial weights, tokens and FLOPs, shared by all sides.
//
// Four pre-norm layers of causal attention and a ReLU feed-forward, learned positions, RMSNorm, an untied head; Adam
// without clipping or decay. Weights are [in, out]; 3.5 million parameters.

import { hashed } from '../harness/numbers.mjs';

export const sizes = {
  layers: 4,
  width: 256,
  heads: 4,
  length: 256,
  batch: 8,
  vocabulary: 512,
  hidden: 1024,
};
export const adam = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };
export const normEpsilon = 1e-5;

const { layers, width, length, batch, vocabulary, hidden } = sizes;

/** Initial parameters by name, each `{ shape, data }`. */
export function initialWeights() {
  const weights = {};
  const uniform = (name, ...shape) => {
    weights[name] = { shape, data: hashed(name, shape[0] * shape[1], 0.25) };
  };
  const ones = (name) => {
    weights[name] = { shape: [width], data: new Float32Array(width).fill(1) };
  };
  uniform('embedding', vocabulary, width);
  uniform('positions', length, width);
  for (let layer = 0; layer < layers; layer++) {
    ones(`${layer}.norm1`);
    for (const part of ['query', 'key', 'value', 'output']) uniform(`${layer}.${part}`, width, width);
    ones(`${layer}.norm2`);
    uniform(`${layer}.up`, width, hidden);
    uniform(`${layer}.down`, hidden, width);
  }
  ones('norm');
  uniform('head', width, vocabulary);
  return weights;
}

/** Token ids and the tokens that follow, flat [batch * length]. */
export function tokens() {
  const at = (row) => (row * 7 + Math.floor(row / length) * 31) % vocabulary;
  const rows = batch * length;
  return {
    ids: Int32Array.from({ length: rows }, (_, row) => at(row)),
    targets: Int32Array.from({ length: rows }, (_, row) => (at(row) + 7) % vocabulary),
  };
}

/** 0 where key j <= query i, else -1e9: [length, length], row by row. */
export function causalMask() {
  return Float32Array.from({ length: length * length }, (_, i) =>
    i % length > Math.floor(i / length) ? -1e9 : 0,
  );
}

/** FLOPs of a step, counted as in harness/models.mjs. */
export function stepFlops() {
  const weights = layers * (4 * width * width + 2 * width * hidden) + width * vocabulary;
  const attention = layers * 2 * width * (length + 1);
  return 3 * batch * length * (2 * weights + attention);
}
