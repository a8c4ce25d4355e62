import { CommandList, type TensorRef } from '@minke/core';
import { auto } from '@minke/gpu-backends';

const backend = await auto(); // native, wasm or reference; MINKE_BACKEND=wasm forces one
console.log(backend.info.name, backend.info.device, '-', backend.info.reason);

const tensor = (shape: number[]): TensorRef => {
  const length = shape.reduce((a, b) => a * b, 1);
  return { buffer: backend.allocate('f32', length), dtype: 'f32', shape, offset: 0 };
};
const [a, b, c, y] = [tensor([2, 3]), tensor([3, 2]), tensor([2, 2]), tensor([2, 2])];
backend.write(a.buffer, Float32Array.of(1, 2, 3, 4, 5, 6));
backend.write(b.buffer, Float32Array.of(1, 0, 0, 1, 1, 1));

const list = new CommandList(); // checked as it is recorded, run in one call
list.record('matmul', [a, b], [c], { transA: 0, transB: 0 });
list.record('softmax', [c], [y], { kind: 'softmax' });
backend.submit(list);
console.log(await backend.read(c.buffer)); // [4, 5, 10, 11]
console.log(await backend.read(y.buffer)); // rows of [0.269, 0.731]
backend.dispose();
