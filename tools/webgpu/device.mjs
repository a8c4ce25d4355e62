// What the conformance suite cannot see: tensors of one call in one buffer, more workgroups than one dimension
// has, memory beyond the limits, and what happens around dispose.

import { CommandList, elementCount, inferOutputs, opRow } from '../../packages/core/dist/index.js';
import { conformanceCases } from '../../packages/gpu-backends/dist/conformance.js';
import { createBackend } from '../../packages/gpu-backends/dist/index.js';
import { createReference } from '../../packages/gpu-backends/dist/reference/index.js';
import { createWebgpu } from '../../packages/gpu-backends/dist/webgpu/index.js';

let passed = 0;
let failed = 0;
const check = (right, text) => {
  console.log(`${right ? 'ok' : 'FAILED'}: ${text}`);
  if (right) passed++;
  else failed++;
};
const failure = async (action) => {
  try {
    await action();
    return undefined;
  } catch (error) {
    return error;
  }
};

const backend = await createBackend('webgpu');
const reference = createReference();

/** Deterministic numbers of both signs. */
const number = (i) => Math.fround(Math.sin(i * 12.9898 + 1) * 1.5);

/** Runs one op with every f32 tensor in one buffer and every i32 tensor in another; returns both buffers. */
async function runPacked(on, op, inputs, attributes) {
  const outputs = inferOutputs(op, inputs, attributes);
  const lengths = { f32: 0, i32: 0 };
  const placed = [...inputs, ...outputs].map((tensor) => {
    const offset = lengths[tensor.dtype] + 1; // odd offsets, a gap between tensors
    lengths[tensor.dtype] = offset + elementCount(tensor.shape);
    return { ...tensor, offset };
  });
  const data = {
    f32: Float32Array.from({ length: lengths.f32 + 1 }, (_, i) => number(i)),
    i32: new Int32Array(lengths.i32 + 1),
  };
  const buffers = {};
  for (const [dtype, numbers] of Object.entries(data)) {
    for (const { values, offset } of placed.filter((one) => one.dtype === dtype && one.values))
      numbers.set(values, offset);
    buffers[dtype] = on.allocate(dtype, numbers.length);
    on.write(buffers[dtype], numbers);
  }
  const refs = placed.map(({ dtype, shape, offset }) => ({ buffer: buffers[dtype], dtype, shape, offset }));
  const list = new CommandList();
  list.record(op, refs.slice(0, inputs.length), refs.slice(inputs.length), attributes);
  on.submit(list);
  const results = [await on.read(buffers.f32), await on.read(buffers.i32)];
  for (const buffer of Object.values(buffers)) on.release(buffer);
  return results;
}

const f32 = (...shape) => ({ dtype: 'f32', shape });
const i32 = (shape, values) => ({ dtype: 'i32', shape, values });
const positive = (...shape) => ({
  ...f32(...shape),
  values: new Float32Array(elementCount(shape)).fill(0.5),
});
const ranges = i32([3, 2], [0, 1, 0, 2, 0, 4]);
const rates = {
  lr: 0.01,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  correction1: 0.1,
  correction2: 0.05,
};
const packed = [
  ['binary', [f32(5, 3), f32(3)], { kind: 'add' }],
  ['matmulInto', [f32(5, 7), f32(7, 6), f32(5, 6)], { transA: 0, transB: 0 }],
  ['swigluGrad', [f32(9), f32(9), f32(9)], {}],
  ['rmsNormGrad', [f32(3, 5), f32(5), positive(3), f32(3, 5)], {}],
  ['adamW', [f32(70), positive(1), f32(70), f32(70), positive(70)], { ...rates, maxNorm: 1 }],
  ['topK', [f32(3, 9)], { k: 4 }],
  ['scatterAddRows', [f32(4, 3), i32([4], [1, 1, 0, 7]), f32(2, 3)], {}],
  ['expertPlan', [i32([4, 2], [0, 1, 2, 1, 0, 9, 2, 2])], { experts: 3 }],
  ['groupedMatmul', [f32(6, 5), f32(2, 3, 5), i32([3], [0, 4, 6])], { transW: 1 }],
  ['moeCombineGrad', [f32(6, 3), f32(3, 2), i32([3, 2], [0, 3, 1, 4, 2, -1]), f32(3, 3)], {}],
  [
    'attentionGrad',
    [f32(3, 2, 4), f32(4, 1, 4), f32(4, 1, 3), ranges, f32(3, 2, 3), f32(3, 2), f32(3, 2, 3)],
    { scale: 0.5 },
  ],
];
for (const [op, inputs, attributes] of packed) {
  const [got, want] = [
    await runPacked(backend, op, inputs, attributes),
    await runPacked(reference, op, inputs, attributes),
  ];
  const worst = Math.max(
    ...want.flatMap((numbers, b) =>
      Array.from(numbers, (x, i) => Math.abs(x - got[b][i]) / Math.max(1, Math.abs(x))),
    ),
  );
  check(worst < 1e-5, `${op} (${opRow(op).inputs.length} inputs) with its tensors in one buffer`);
}

{
  const count = 65535 * 64 + 12345;
  const buffer = backend.allocate('f32', count);
  const whole = { buffer, dtype: 'f32', shape: [count], offset: 0 };
  const list = new CommandList();
  list.record('fill', [whole], [], { value: 3 });
  list.record(
    'accumulate',
    [
      { ...whole, shape: [1] },
      { ...whole, shape: [1], offset: count - 1 },
    ],
    [],
    { scale: 2 },
  );
  backend.submit(list);
  const ends = [...(await backend.read(buffer, 0, 2)), ...(await backend.read(buffer, count - 2, 2))];
  check(ends.join() === '3,3,3,9', `${count} elements: more workgroups than one dimension holds`);
  backend.release(buffer);
}

{
  const error = await failure(() => backend.allocate('f32', 2 ** 40));
  const named = error?.code === 'out-of-memory' && error.message.includes('maxStorageBufferBindingSize');
  check(named, 'an allocation beyond the limit is refused, with the limit');
  const bytes = backend.allocate('u8', 11);
  backend.write(bytes, new Uint8Array(11).fill(1));
  backend.write(bytes, Uint8Array.of(7, 8, 9), 3);
  backend.write(bytes, Uint8Array.of(5), 10);
  const text = (await backend.read(bytes, 1, 10)).join();
  check(text === '1,1,7,8,9,1,1,1,1,5', 'bytes are written and read at odd places');
  backend.release(bytes);
}

{
  // The same bits from a second backend: nothing depends on what ran before.
  const second = await createBackend('webgpu');
  const some = conformanceCases({ ops: ['matmul', 'attentionGrad', 'sumSquares', 'softmax'] });
  let different = 0;
  for (const { op, run } of some)
    if (op !== 'contract' && (await run(second, backend)).worst !== 0) different++;
  check(different === 0, `${some.length} calls give the same bits on two devices of one adapter`);
  const buffer = second.allocate('f32', 8);
  const pending = second.read(buffer);
  second.dispose();
  const late = await failure(() => pending);
  check(
    late === undefined || late.name === 'MinkeError',
    'a read under way ends when its backend is disposed',
  );
  check(
    (await failure(() => second.read(buffer)))?.code === 'invalid-argument',
    'a disposed backend refuses reads',
  );
}

{
  // A device of the caller's, taken away.
  const { create } = await import('webgpu');
  globalThis.entry = create([]);
  const adapter = await globalThis.entry.requestAdapter();
  const device = await adapter.requestDevice();
  const given = await createWebgpu({ device });
  const buffer = given.allocate('f32', 4);
  given.write(buffer, Float32Array.of(1, 2, 3, 4));
  check((await given.read(buffer)).join() === '1,2,3,4', 'a device of the caller computes');
  device.destroy();
  await device.lost;
  const lost = await failure(() => given.read(buffer));
  check(
    lost?.name === 'MinkeError' && lost.message.includes('lost'),
    'a lost device is told at the next read',
  );
  const refused = await failure(() => given.submit(new CommandList()));
  check(refused?.message === lost?.message, 'and at the next submit');
  given.dispose();
}

check(backend.memoryUse().buffers === 0, 'no memory is left');
backend.dispose();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
