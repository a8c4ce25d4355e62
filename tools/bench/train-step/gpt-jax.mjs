// The tiny GPT in jax-js on its WebAssembly device: loss and gradient under one jit, Adam under another.
// Arrays are used up by the function they are given to; `.ref` keeps one.

import { createRequire } from 'node:module';
import { refuse, serve } from '../harness/serve.mjs';
import { adam, causalMask, initialWeights, normEpsilon, sizes, tokens } from './gpt-model.mjs';

globalThis.navigator ??= {}; // jax-js looks for WebGPU there; Node 20 has none
const jax = await import('@jax-js/jax').catch((error) => refuse(`jax-js does not load: ${error.message}`));
await jax.init('wasm');
jax.defaultDevice('wasm');
const { numpy: np, nn, tree } = jax;
const { layers, width, heads, length, batch, vocabulary } = sizes;
const rows = batch * length;

const asArray = ({ data, shape }) => np.array(data).reshape(shape);
const oneHot = (ids) => {
  const data = new Float32Array(rows * vocabulary);
  for (const [row, id] of ids.entries()) data[row * vocabulary + id] = 1;
  return asArray({ data, shape: [rows, vocabulary] });
};
const { ids, targets } = tokens();
const inputs = oneHot(ids);
const expected = oneHot(targets);
const mask = asArray({ data: causalMask(), shape: [length, length] });

function norm(x, weight) {
  const root = np.sqrt(np.mean(np.square(x.ref), -1, { keepdims: true }).add(normEpsilon));
  return x.div(root).mul(weight);
}

function lossOf(p, inputs, expected, mask) {
  const embedded = np.matmul(inputs, p.embedding).reshape([batch, length, width]).add(p.positions);
  let x = embedded.reshape([rows, width]);
  for (let layer = 0; layer < layers; layer++) {
    const weight = (name) => p[`${layer}.${name}`];
    const normed = norm(x.ref, weight('norm1'));
    const split = (name) =>
      np
        .matmul(normed.ref, weight(name))
        .reshape([batch, length, heads, width / heads])
        .transpose([0, 2, 1, 3]);
    const [q, k, v] = ['query', 'key', 'value'].map(split);
    normed.dispose();
    const scores = np.matmul(q, k.transpose([0, 1, 3, 2])).mul((width / heads) ** -0.5);
    const o = np.matmul(nn.softmax(scores.add(mask.ref), -1), v).transpose([0, 2, 1, 3]);
    x = x.add(np.matmul(o.reshape([rows, width]), weight('output')));
    const hidden = nn.relu(np.matmul(norm(x.ref, weight('norm2')), weight('up')));
    x = x.add(np.matmul(hidden, weight('down')));
  }
  mask.dispose();
  const logProbabilities = nn.logSoftmax(np.matmul(norm(x, p.norm), p.head), -1);
  return np.mean(np.sum(logProbabilities.mul(expected), -1)).neg();
}

function update(parameters, gradients, first, second, correction1, correction2) {
  const { learningRate, beta1, beta2, epsilon } = adam;
  const blend = (beta, map) => (moment, gradient) => moment.mul(beta).add(map(gradient).mul(1 - beta));
  const m = tree.map(
    blend(beta1, (g) => g),
    first,
    tree.ref(gradients),
  );
  const v = tree.map(blend(beta2, np.square), second, gradients);
  const move = (p, m, v) => {
    const root = np.sqrt(v.mul(correction2.ref)).add(epsilon);
    return p.sub(m.mul(correction1.ref).mul(learningRate).div(root));
  };
  const moved = tree.map(move, parameters, tree.ref(m), tree.ref(v));
  correction1.dispose();
  correction2.dispose();
  return [moved, m, v];
}

const gradient = jax.jit(jax.valueAndGrad(lossOf));
const optimize = jax.jit(update);
let parameters = Object.fromEntries(
  Object.entries(initialWeights()).map(([name, weight]) => [name, asArray(weight)]),
);
let first = tree.map((x) => np.zeros(x.shape), tree.ref(parameters));
let second = tree.map((x) => np.zeros(x.shape), tree.ref(parameters));
let steps = 0;

async function step() {
  steps++;
  const [loss, gradients] = gradient(tree.ref(parameters), inputs.ref, expected.ref, mask.ref);
  const correction = (beta) => np.array(1 / (1 - beta ** steps));
  const corrections = [correction(adam.beta1), correction(adam.beta2)];
  [parameters, first, second] = optimize(parameters, gradients, first, second, ...corrections);
  const [value] = await loss.data();
  await jax.blockUntilReady(parameters);
  return value;
}

const { version } = createRequire(import.meta.url)('./package-lock.json').packages[
  'node_modules/@jax-js/jax'
];
await serve({ name: `@jax-js/jax ${version} wasm`, check: [await step()], call: step });
