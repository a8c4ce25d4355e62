// The tiny GPT in TensorFlow.js on its WebAssembly backend (SIMD; its threads do not start in Node).

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { refuse, serve } from '../harness/serve.mjs';
import { adam, causalMask, initialWeights, normEpsilon, sizes, tokens } from './gpt-model.mjs';

const require = createRequire(import.meta.url);
const tf = load('@tensorflow/tfjs');
const wasm = load('@tensorflow/tfjs-backend-wasm');
wasm.setWasmPaths(
  fileURLToPath(new URL('node_modules/@tensorflow/tfjs-backend-wasm/dist/', import.meta.url)),
);
await tf.setBackend('wasm');
await tf.ready();

const { layers, width, heads, length, batch, vocabulary } = sizes;
const rows = batch * length;
const weights = Object.fromEntries(
  Object.entries(initialWeights()).map(([name, { data, shape }]) => [
    name,
    tf.variable(tf.tensor(data, shape)),
  ]),
);
const variables = Object.values(weights);
const mask = tf.tensor2d(causalMask(), [length, length]);
const { ids, targets } = tokens();
const optimizer = tf.train.adam(adam.learningRate, adam.beta1, adam.beta2, adam.epsilon);

function norm(x, weight) {
  const square = tf.mean(tf.square(x), -1, true);
  return tf.mul(tf.mul(x, tf.rsqrt(tf.add(square, normEpsilon))), weight);
}

const oneHot = (numbers) => tf.cast(tf.oneHot(tf.tensor1d(numbers, 'int32'), vocabulary), 'float32');

function lossOf() {
  let x = tf.add(tf.matMul(oneHot(ids), weights.embedding), tf.tile(weights.positions, [batch, 1]));
  for (let layer = 0; layer < layers; layer++) {
    const weight = (name) => weights[`${layer}.${name}`];
    const normed = norm(x, weight('norm1'));
    const [q, k, v] = ['query', 'key', 'value'].map((name) => {
      const projected = tf.reshape(tf.matMul(normed, weight(name)), [batch, length, heads, width / heads]);
      return tf.transpose(projected, [0, 2, 1, 3]);
    });
    const scores = tf.mul(tf.matMul(q, k, false, true), (width / heads) ** -0.5);
    const o = tf.transpose(tf.matMul(tf.softmax(tf.add(scores, mask)), v), [0, 2, 1, 3]);
    x = tf.add(x, tf.matMul(tf.reshape(o, [rows, width]), weight('output')));
    const hidden = tf.relu(tf.matMul(norm(x, weight('norm2')), weight('up')));
    x = tf.add(x, tf.matMul(hidden, weight('down')));
  }
  const logProbabilities = tf.logSoftmax(tf.matMul(norm(x, weights.norm), weights.head));
  return tf.neg(tf.mean(tf.sum(tf.mul(logProbabilities, oneHot(targets)), -1)));
}

function step() {
  const loss = optimizer.minimize(lossOf, true, variables);
  const [value] = loss.dataSync();
  loss.dispose();
  return value;
}

function load(name) {
  try {
    return require(name);
  } catch (error) {
    return refuse(`${name} does not load: ${error.message.split('\n')[0]}`);
  }
}

await serve({ name: `@tensorflow/tfjs ${tf.version_core} wasm`, check: [step()], call: step });
