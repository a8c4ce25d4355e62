// onnxruntime-node's side of the linear benchmark: MatMulNBits with the weight as a constant of the model, which the
// runtime packs when it loads; its input in a tensor it reads in place, its output preallocated.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { readCase, refuse, serve } from '../harness/serve.mjs';
import { nbitsModel } from './nbits-model.mjs';
import { checkOutputs, distinctRows, inputOf, weightOf } from './operands.mjs';

const { threads, bits, ...shape } = readCase();
const { M, N, K } = shape;
const { version } = JSON.parse(readFileSync(new URL('package-lock.json', import.meta.url), 'utf8')).packages[
  'node_modules/onnxruntime-node'
];
const name = `onnxruntime-node ${version} MatMulNBits`;
const ort = load();
const { weights, scales, numbers } = rounded();
const session = await ort.InferenceSession.create(nbitsModel({ N, K, bits, weights, scales }), {
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  executionProviders: ['cpu'],
}).catch((error) => refuse(`${name}, ${bits} bits: ${error.message.split('\n')[0]}`));
const inputs = { x: new ort.Tensor('float32', inputOf(shape), [M, K]) };
const outputs = { y: new ort.Tensor('float32', new Float32Array(M * N), [M, N]) };
const call = () => session.run(inputs, outputs);
await call();
checkOutputs(shape, inputs.x.data, numbers, outputs.y.data, 0.25 / 127);
await serve({ name, call });

/** The weight by blocks: unsigned integers with the middle as zero point, low half of a byte first. */
function rounded() {
  const w = weightOf(shape);
  const [middle, perByte] = [2 ** (bits - 1), 8 / bits];
  const rows = new Uint8Array((distinctRows * K) / perByte);
  const own = new Float32Array((distinctRows * K) / 32);
  const numbers = new Float32Array(w.length);
  for (let b = 0; b < own.length; b++) {
    const block = w.subarray(b * 32, (b + 1) * 32);
    own[b] = block.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / (middle - 1);
    block.forEach((x, k) => {
      const q = Math.round(x / own[b]);
      numbers[b * 32 + k] = q * own[b];
      rows[((b * 32 + k) / perByte) | 0] |= (q + middle) << (bits * (k % perByte));
    });
  }
  const repeat = (Type, part) => {
    const whole = new Type((part.length * N) / distinctRows);
    for (let at = 0; at < whole.length; at += part.length) whole.set(part, at);
    return whole;
  };
  return { weights: repeat(Uint8Array, rows), scales: repeat(Float32Array, own), numbers };
}

function load() {
  try {
    return createRequire(import.meta.url)('onnxruntime-node');
  } catch (error) {
    return refuse(`${name} does not load: ${error.message.split('\n')[0]}`);
  }
}
