// Our side of the gemm benchmark: the product of resident operands, natively or in WebAssembly.

import { CommandList } from '../../../packages/core/dist/index.js';
import { createWasm } from '../../../packages/gpu-backends/dist/cpu/index.js';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';
import { checkProduct, operandsOf } from './operands.mjs';

const { threads, build, ...shape } = readCase();
const { M, N, K } = shape;
const backend = build === 'wasm' ? await createWasm() : await nativeBackend(threads);
const operands = operandsOf(shape);

function tensor(size, data) {
  const buffer = backend.allocate('f32', size[0] * size[1]);
  if (data) backend.write(buffer, data);
  return { buffer, dtype: 'f32', shape: size, offset: 0 };
}

const product = tensor([M, N]);
const list = new CommandList();
const inputs = [tensor([M, K], operands.a), tensor([K, N], operands.b)];
list.record('matmul', inputs, [product], { transA: 0, transB: 0 });
const call = () => backend.submit(list);
call();
checkProduct(shape, operands, backend.readSync(product.buffer));
await serve({ name: `minke ${build}`, call });
