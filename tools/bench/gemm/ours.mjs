// Our side of the gemm benchmark: the product of resident operands, natively or in WebAssembly. `storage` is that of B,
// f32 or bf16; with `packed`, B is a weight packed beforehand, as a runtime packs a constant when it loads.

import { CommandList, float32ToBfloat16 } from '../../../packages/core/dist/index.js';
import { backendOf, readCase, serve } from '../harness/serve.mjs';
import { checkProduct, operandsOf, roundedToBf16, transposed } from './operands.mjs';

const { threads, build, storage = 'f32', packed = false, ...shape } = readCase();
const { M, N, K } = shape;
const backend = await backendOf({ build, threads });
const exact = operandsOf(shape);
const operands = storage === 'bf16' ? { a: roundedToBf16(exact.a), b: roundedToBf16(exact.b) } : exact;

function tensor(size, data, dtype = 'f32') {
  const count = size.reduce((a, b) => a * b);
  const buffer = backend.allocate(dtype, count);
  if (data) backend.write(buffer, data);
  return { buffer, dtype, shape: size, offset: 0 };
}

function run(op, inputs, outputs, attributes) {
  const list = new CommandList();
  list.record(op, inputs, outputs, attributes);
  backend.submit(list);
  return list;
}

/** B, or its transpose, in the storage asked for. */
function weight(size, data) {
  return storage === 'bf16'
    ? tensor(size, new Uint8Array(float32ToBfloat16(data).buffer), storage)
    : tensor(size, data);
}

/** B as linear layers store it, in tiles of 32 columns; two rows of B lie beside each other in bf16. */
function packedWeight() {
  const pairs = storage === 'bf16' ? 2 : 1;
  const tiles = tensor([Math.ceil(N / 32), Math.ceil(K / pairs), 32 * pairs], null, storage);
  const op = storage === 'bf16' ? 'packWeightBf16' : 'packWeight';
  run(op, [weight([N, K], transposed(operands.b, K, N))], [tiles], {});
  return tiles;
}

const suffix = storage === 'bf16' ? 'Bf16' : '';
const product = tensor([M, N]);
const inputs = [tensor([M, K], operands.a), packed ? packedWeight() : weight([K, N], operands.b)];
const list = packed
  ? run(`matmulPacked${suffix}`, inputs, [product], { columns: N })
  : run(`matmul${suffix}`, inputs, [product], { transA: 0, transB: 0 });
checkProduct(shape, operands, backend.readSync(product.buffer));
const name = `minke ${build} ${storage}${packed ? ' packed' : ''}`;
await serve({ name, call: () => backend.submit(list) });
