import { type Backend, Random } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { expect, test } from 'vitest';
import {
  Arena,
  crossEntropy,
  gradcheck,
  linear,
  linearCrossEntropy,
  mul,
  sum,
  type Tensor,
} from './index.ts';

const targets = [3, -1, 0, 6, 2, 9, 1];
const create = () => (nativeAvailable().available ? createNative({ threads: 2 }) : createWasm());

/** Loss of each row, and gradients of a weighted sum of it by hidden and head. */
function results(
  backend: Backend,
  loss: (hidden: Tensor, head: Tensor, targets: Tensor) => Tensor,
  leaves = true,
) {
  const owner = new Arena(backend, { persistent: true });
  const arena = new Arena(backend, { grad: true });
  const random = new Random(5);
  const [n, d, v] = [61, 19, 143];
  const draw = (shape: number[]) =>
    owner.parameter(
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
      shape,
    );
  const [hidden, head, weights] = [draw([n, d]), draw([v, d]), draw([n])];
  const ids = arena.tensor(
    Int32Array.from({ length: n }, (_, i) => (i % 7 === 3 ? -1 : (i * 31) % v)),
    [n],
    'i32',
  );
  const use = (p: Tensor) => (leaves ? arena.adopt(p) : mul(arena.adopt(p), arena.full([1], 1)));
  const losses = loss(use(hidden), use(head), ids);
  sum(mul(losses, arena.adopt(weights))).backward();
  return [losses, hidden.grad!, head.grad!].map((t) => Array.from(t.readSync()));
}

test('has the right gradients, ignored targets included', async () => {
  const f = (hidden: Tensor, head: Tensor) =>
    linearCrossEntropy(hidden, head, hidden.arena.tensor(targets, [7], 'i32'), { chunkRows: 3 });
  expect(await gradcheck(f, [{ shape: [7, 4] }, { shape: [9, 4] }])).toMatchObject({ ok: true });
});

test('equals crossEntropy(linear()) bit for bit on the CPU kernels, whatever the chunk', async () => {
  const backend = await create();
  const want = results(backend, (hidden, head, ids) => crossEntropy(linear(hidden, head), ids));
  for (const chunkRows of [1, 24, 60, 61, 1000])
    for (const leaves of [true, false])
      expect(
        results(backend, (hidden, head, ids) => linearCrossEntropy(hidden, head, ids, { chunkRows }), leaves),
        `chunks of ${chunkRows}, ${leaves ? 'parameters' : 'results'}`,
      ).toEqual(want);
  backend.dispose();
});

test('falls back to composed ops on a backend without the kernels', () => {
  const inner = createReference();
  const composed: Backend = { ...inner, supports: (op) => !op.startsWith('crossEntropy') };
  const [a, b] = [inner, composed].map((backend) =>
    results(backend, (hidden, head, ids) => linearCrossEntropy(hidden, head, ids, { chunkRows: 10 })),
  );
  a!.forEach((values, t) => {
    values.forEach((value, i) => {
      expect(b![t]![i]).toBeCloseTo(value, 4);
    });
  });
});

test('never holds the logits of a large vocabulary', async () => {
  const backend = await create();
  const [n, d, v] = [1024, 8, 129_280];
  const owner = new Arena(backend, { persistent: true });
  const arena = new Arena(backend, { grad: true });
  const hidden = owner.parameter(new Float32Array(n * d).fill(0.01), [n, d]);
  const head = owner.parameter(new Float32Array(v * d), [v, d]);
  const ids = arena.tensor(new Int32Array(n), [n], 'i32');
  const loss = sum(linearCrossEntropy(arena.adopt(hidden), arena.adopt(head), ids));
  loss.backward();
  expect(loss.readSync()[0]! / n).toBeCloseTo(Math.log(v), 4);
  expect(backend.memoryUse().bytes).toBeLessThan(n * v * 4 * 0.6);
  arena.dispose();
  backend.dispose();
});

test('names what does not fit', () => {
  const arena = new Arena(createReference());
  expect(() => linearCrossEntropy(arena.zeros([2, 3]), arena.zeros([5, 4]), arena.zeros([2], 'i32'))).toThrow(
    /expected hidden \[N, D\], head \[V, D\] and targets \[N\]/,
  );
});
