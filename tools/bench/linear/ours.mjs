// Our side of the linear benchmark: y = x w^T with a packed weight of `bits` 32, 8 or 4, as an engine runs it. What is
// timed is rounding the input to bytes and the product; packing is done beforehand.

import { CommandList } from '../../../packages/core/dist/index.js';
import { backendOf, readCase, serve } from '../harness/serve.mjs';
import { checkOutputs, distinctRows, inputOf, numbersOf, weightOf } from './operands.mjs';

const { threads, build, bits, ...shape } = readCase();
const { M, N, K } = shape;
const backend = await backendOf({ build, threads });

function tensor(size, dtype, data) {
  const buffer = backend.allocate(
    dtype,
    size.reduce((a, b) => a * b),
  );
  if (data) backend.write(buffer, data);
  return { buffer, dtype, shape: size, offset: 0 };
}

function run(op, inputs, outputs, attributes) {
  const list = new CommandList();
  list.record(op, inputs, outputs, attributes);
  backend.submit(list);
}

const x = tensor([M, K], 'f32', inputOf(shape));
const y = tensor([M, N], 'f32');
const some = tensor([distinctRows, K], 'f32', weightOf(shape));
const list = new CommandList();
let numbers = weightOf(shape);
if (bits === 32) {
  const tiles = tensor([N / 32, K, 32], 'f32');
  const size = [distinctRows / 32, K, 32];
  for (let row = 0; row < N; row += distinctRows)
    run('packWeight', [some], [{ ...tiles, shape: size, offset: row * K }], {});
  list.record('matmulPacked', [x, tiles], [y], { columns: N });
} else {
  const to = bits === 8 ? 'q8_0' : 'q4_0';
  const blocks = tensor([distinctRows, K], to);
  run('quantize', [some], [blocks], { to });
  numbers = numbersOf(backend.readSync(blocks.buffer), bits);
  const tiles = tensor([N / 32, K / 32, 1024], to);
  const size = [distinctRows / 32, K / 32, 1024];
  for (let row = 0; row < N; row += distinctRows)
    run('packQuantized', [blocks], [{ ...tiles, shape: size, offset: row * K }], {});
  const [rows, scales] = [tensor([M, K], 'i8'), tensor([M, K / 32], 'f32')];
  list.record('quantizeRows', [x], [rows, scales], {});
  list.record('matmulQuantized', [rows, scales, tiles], [y], { columns: N });
}
list.close();
backend.submit(list);
// Inputs are below 1/2; a step of rounding is their largest over 127, the error at most half of it.
checkOutputs(shape, inputOf(shape), numbers, backend.readSync(y.buffer), bits === 32 ? 0 : 0.25 / 127);
const name = `minke ${build ?? ''} int${bits}`.replace('int32', 'f32').replace('  ', ' ');
await serve({ name, call: () => backend.submit(list) });
