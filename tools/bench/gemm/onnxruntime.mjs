// onnxruntime-node's side of the gemm benchmark: operands in tensors it reads in place, its output preallocated. With
// `constantB`, B is a constant of the model, which the runtime packs once when it loads.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { readCase, refuse, serve } from '../harness/serve.mjs';
import { matmulModel } from './onnx-matmul.mjs';
import { checkProduct, operandsOf } from './operands.mjs';

const { threads, constantB, ...shape } = readCase();
const { M, N, K } = shape;
const { version } = JSON.parse(readFileSync(new URL('package-lock.json', import.meta.url), 'utf8')).packages[
  'node_modules/onnxruntime-node'
];
const name = `onnxruntime-node ${version}`;
const ort = load();
const operands = operandsOf(shape);
const model = matmulModel({ M, N, K, weights: constantB ? operands.b : undefined });
const session = await ort.InferenceSession.create(model, {
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  executionProviders: ['cpu'],
});
const inputs = { A: new ort.Tensor('float32', operands.a, [M, K]) };
if (!constantB) inputs.B = new ort.Tensor('float32', operands.b, [K, N]);
const outputs = { C: new ort.Tensor('float32', new Float32Array(M * N), [M, N]) };
const call = () => session.run(inputs, outputs);
await call();
checkProduct(shape, operands, outputs.C.data);
await serve({ name, call });

function load() {
  try {
    return createRequire(import.meta.url)('onnxruntime-node');
  } catch (error) {
    return refuse(`${name} does not load: ${error.message.split('\n')[0]}`);
  }
}
