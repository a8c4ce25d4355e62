import { type Backend, type OpName, Random } from '@minke/core';
import { createWasm } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { describe, expect, it } from 'vitest';
import { call } from './call.ts';
import {
  Arena,
  blocksTensor,
  groupedLinearPacked,
  linear,
  linearPacked,
  matmul,
  packWeight,
  quantizeRows,
  sum,
  type Tensor,
} from './index.ts';

const random = new Random(3);
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

/** The reference as a backend that has no kernels for packed weights and bf16. */
function plain(): Backend {
  const backend = createReference();
  return {
    ...backend,
    supports: (op: OpName) => !/Packed|Bf16|packWeight|uantize/.test(op) && backend.supports(op),
  };
}

const backends: [string, () => Backend | Promise<Backend>][] = [
  ['reference', createReference],
  ['a backend without the ops', plain],
  ['wasm', createWasm],
];

describe.each(backends)('packed weights on %s', (_, create) => {
  it('multiply as the weight itself, f32 and bf16, alone and grouped, also after an update', async () => {
    const backend = await create();
    const [owner, arena] = [new Arena(backend, { persistent: true }), new Arena(backend)];
    const weight = owner.tensor(normals(50 * 19), [50, 19]);
    const bias = owner.tensor(normals(50), [50]);
    const experts = owner.tensor(normals(3 * 33 * 19), [3, 33, 19]);
    const x = arena.tensor(normals(2 * 5 * 19), [2, 5, 19]);
    const x2 = x.reshape([10, 19]);
    const offsets = arena.tensor([0, 4, 4, 9], [4], 'i32');
    const same = (a: Tensor, b: Tensor) => expect(a.readSync()).toEqual(b.readSync());
    const grouped = () => call('groupedMatmul', [x2, experts, offsets], { transW: 1 })[0]!;
    const packed = packWeight(weight);
    const packedExperts = packWeight(experts);
    same(linearPacked(x, packed, bias), linear(x, weight, bias));
    same(groupedLinearPacked(x2, packedExperts, offsets), grouped());
    const [half, halfExperts] = [packWeight(weight, { bf16: true }), packWeight(experts, { bf16: true })];
    expect([packed.storage, half.storage]).toEqual(['f32', 'bf16']);
    same(linearPacked(x, half, bias), linear(x, weight, bias, { bf16: true }));
    const one = arena.tensor([0, 10, 10, 10], [4], 'i32');
    const first = experts.rows(0, 1).reshape([33, 19]);
    same(groupedLinearPacked(x2, halfExperts, one), linear(x2, first, undefined, { bf16: true }));
    weight.write(normals(50 * 19));
    packed.update(weight);
    half.update(weight);
    same(linearPacked(x, packed), linear(x, weight));
    same(linearPacked(x, half), linear(x, weight, undefined, { bf16: true }));
    for (const handle of [packed, half, packedExperts, halfExperts]) handle.dispose();
    arena.dispose();
    owner.dispose();
    expect(backend.memoryUse()).toEqual({ buffers: 0, bytes: 0 });
  });

  it('bf16 products have the gradients of rounded numbers, that of the weight in f32', async () => {
    const backend = await create();
    const owner = new Arena(backend, { persistent: true });
    const arena = new Arena(backend, { grad: true });
    const [x, w] = [owner.parameter(normals(6 * 7), [6, 7]), owner.parameter(normals(5 * 7), [5, 7])];
    const dy = arena.tensor(normals(6 * 5), [6, 5]);
    const loss = (y: Tensor) => sum(sum(matmul(y, dy, { transB: true }).reshape([36]), 0));
    loss(linear(arena.adopt(x), arena.adopt(w), undefined, { bf16: true })).backward();
    const inference = new Arena(backend);
    // sum over i, j of y_i . dy_j: each row of dy counts with the sum of all.
    const ones = inference.full([6, 6], 1);
    const dySum = matmul(ones, inference.adopt(dy.detach()));
    const w16 = call('cast', [w], { to: 'bf16' }, inference)[0]!;
    expect(x.grad!.readSync()).toEqual(matmul(dySum, w16).readSync());
    const dw = matmul(dySum, inference.adopt(x), { transA: true }).readSync();
    const furthest = (got: ArrayLike<number>, want: ArrayLike<number>) =>
      Array.from(got).reduce((most, value, i) => Math.max(most, Math.abs(value - want[i]!)), 0);
    expect(furthest(w.grad!.readSync(), dw)).toBeLessThan(1e-4);
    // With a transposed the gradient has the bf16 side on the left: it is of f32 numbers.
    const step = new Arena(backend, { grad: true });
    const a = owner.parameter(normals(7 * 6), [7, 6]);
    const b = call('cast', [w], { to: 'bf16' }, step)[0]!;
    sum(sum(matmul(step.adopt(a), b, { transA: true, transB: true }), 0), 0).backward();
    const wide = call('cast', [b], { to: 'f32' }, step)[0]!;
    const expected = matmul(wide, step.full([5, 6], 1), { transA: true }).readSync();
    expect(furthest(a.grad!.readSync(), expected)).toBeLessThan(1e-5);
    // A parameter on the left adds what the bf16 product gives to its gradient.
    const left = owner.parameter(normals(2 * 5), [2, 5]);
    sum(sum(matmul(step.adopt(left), b), 0), 0).backward();
    expect(left.grad!.readSync()).toEqual(matmul(step.full([2, 7], 1), b, { transB: true }).readSync());
    for (const one of [arena, inference, step, owner]) one.dispose();
  });
});

it('packed weights refuse what does not fit, and gradients', () => {
  const backend = createReference();
  const [owner, arena] = [new Arena(backend, { persistent: true }), new Arena(backend, { grad: true })];
  const w = owner.parameter(normals(6), [2, 3]);
  const packed = packWeight(w);
  expect(() => packWeight(owner.tensor([1], [1]))).toThrow('packWeight: expected w [out, in]');
  expect(() => linearPacked(arena.tensor([1, 2], [1, 2]), packed)).toThrow('linearPacked: expected x');
  expect(() => linearPacked(arena.adopt(owner.parameter(normals(3), [1, 3])), packed)).toThrow('no gradient');
  expect(() => packed.update(owner.tensor([1], [1, 1]))).toThrow('PackedWeight.update: expected [2, 3]');
  arena.dispose();
  owner.dispose();
});

describe.each([
  ['reference', createReference],
  ['wasm', createWasm],
] as [string, () => Backend | Promise<Backend>][])('quantised weights on %s', (_, create) => {
  it.each(['q8_0', 'q4_0'] as const)(
    '%s multiply as their numbers, rows rounded once or by the product',
    async (to) => {
      const backend = await create();
      const [owner, arena] = [new Arena(backend, { persistent: true }), new Arena(backend)];
      const numbers = normals(50 * 64);
      const weight = owner.tensor(numbers, [50, 64]);
      const bias = owner.tensor(normals(50), [50]);
      const x = arena.tensor(normals(2 * 5 * 64), [2, 5, 64]);
      const packed = packWeight(weight, { quantize: to });
      expect(packed.bytes).toBe((2 * 2 * 1024 * (to === 'q8_0' ? 34 : 18)) / 32);
      const y = linearPacked(x, packed, bias);
      expect(y.shape).toEqual([2, 5, 50]);
      const rounded = quantizeRows(x);
      expect(linearPacked(rounded, packed, bias).readSync()).toEqual(y.readSync());
      const exact = linear(x, weight, bias).readSync();
      const error = Array.from(y.readSync()).reduce((sum, value, i) => sum + (value - exact[i]!) ** 2, 0);
      const size = Array.from(exact).reduce((sum, value) => sum + value ** 2, 0);
      expect(Math.sqrt(error / size)).toBeLessThan(to === 'q8_0' ? 0.012 : 0.11);

      // The bytes of a file give what rounding here gives.
      const [blocks] = call('quantize', [weight], { to }, owner);
      owner.submit();
      const bytes = backend.readSync!(blocks!.storage.buffer) as Uint8Array;
      const loaded = packWeight(blocksTensor(owner, bytes, [50, 64], to));
      expect(loaded.storage).toBe(to);
      expect(linearPacked(x, loaded, bias).readSync()).toEqual(y.readSync());

      const experts = owner.tensor(normals(3 * 33 * 64), [3, 33, 64]);
      const packedExperts = packWeight(experts, { quantize: to });
      const offsets = arena.tensor([0, 4, 4, 9], [4], 'i32');
      const grouped = groupedLinearPacked(x.reshape([10, 64]), packedExperts, offsets);
      expect(groupedLinearPacked(rounded, packedExperts, offsets).readSync()).toEqual(grouped.readSync());
      const second = packWeight(owner.tensor(experts.readSync().slice(2 * 33 * 64), [33, 64]), {
        quantize: to,
      });
      const own = linearPacked(x, second).readSync();
      expect(grouped.readSync().slice(4 * 33, 9 * 33)).toEqual(own.slice(4 * 33, 9 * 33));

      weight.write(normals(50 * 64));
      packed.update(weight);
      expect(linearPacked(x, packed).readSync()).toEqual(
        linearPacked(x, packWeight(weight, { quantize: to })).readSync(),
      );
      arena.dispose();
      owner.dispose();
      expect(backend.memoryUse()).toEqual({ buffers: 0, bytes: 0 });
    },
  );
});

it('quantised weights refuse what does not fit, and backends that do not have them', () => {
  const backend = createReference();
  const [owner, arena] = [new Arena(backend, { persistent: true }), new Arena(backend)];
  const packed = packWeight(owner.tensor(normals(64), [2, 32]), { quantize: 'q4_0' });
  const narrow = owner.tensor(normals(6), [2, 3]);
  expect(() => packWeight(narrow, { quantize: 'q8_0' })).toThrow('a multiple of 32');
  expect(() => packWeight(narrow, { quantize: 'q8_0', bf16: true })).toThrow(
    'an f32 weight to round to q8_0',
  );
  expect(() => quantizeRows(arena.tensor([1, 2], [1, 2]))).toThrow('quantizeRows: expected f32 x');
  const rows = quantizeRows(arena.tensor(normals(64), [1, 64]));
  expect(() => linearPacked(rows, packed)).toThrow('with 64 inputs for rounded rows');
  expect(() => linearPacked(rows, packWeight(owner.tensor(normals(64), [1, 64])))).toThrow('got f32[1, 64]');
  expect(() => blocksTensor(owner, new Uint8Array(17), [1, 32], 'q4_0')).toThrow('expected 18 bytes');
  expect(() => blocksTensor(owner, new Uint8Array(36), [2, 2, 16], 'q4_0')).toThrow('whole blocks of 32');
  const without = new Arena(plain(), { persistent: true });
  const weight = without.tensor(normals(32), [1, 32]);
  expect(() => packWeight(weight, { quantize: 'q4_0' })).toThrow(
    expect.objectContaining({ code: 'unsupported' }),
  );
  for (const one of [arena, owner, without]) one.dispose();
});
