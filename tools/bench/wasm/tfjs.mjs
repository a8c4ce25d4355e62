// tfjs-wasm's side of the wasm benchmark (SIMD; its threads do not start in Node): the product of resident operands.

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { checkProduct, operandsOf } from '../gemm/operands.mjs';
import { readCase, refuse, serve } from '../harness/serve.mjs';

const { threads: _, ...shape } = readCase();
const { M, N, K } = shape;
const tf = load('@tensorflow/tfjs-core');
const wasm = load('@tensorflow/tfjs-backend-wasm');
wasm.setWasmPaths(
  fileURLToPath(new URL('node_modules/@tensorflow/tfjs-backend-wasm/dist/', import.meta.url)),
);
await tf.setBackend('wasm');
await tf.ready();

const operands = operandsOf(shape);
const [a, b] = [tf.tensor2d(operands.a, [M, K]), tf.tensor2d(operands.b, [K, N])];
const product = tf.matMul(a, b);
checkProduct(shape, operands, product.dataSync());
await serve({ name: `tfjs-wasm ${tf.version_core}`, call: () => tf.matMul(a, b).dispose() });

function load(name) {
  try {
    return createRequire(import.meta.url)(name);
  } catch (error) {
    return refuse(`${name} does not load: ${error.message.split('\n')[0]}`);
  }
}
