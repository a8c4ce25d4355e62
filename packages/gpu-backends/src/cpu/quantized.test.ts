/** Products with quantised weights on every build of the CPU kernels: equal bits at sizes that threads share. */
import type { Attributes, Backend, OpName } from '@minke/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callOn, Draw, type HostTensor, i32 } from '../conformance/draw.ts';
import { cpuBuilds } from '../testing/cpu-builds.ts';
import { createNative, nativeAvailable } from './native.ts';

const draw = new Draw(11, 0);
const normals = (...shape: number[]): HostTensor => draw.normal(shape);

/** Rows from .. from + count; of scales and bytes too. */
function rowsOf(t: HostTensor, from: number, count: number): HostTensor {
  const width = t.data.length / t.shape[0]!;
  return {
    ...t,
    shape: [count, ...t.shape.slice(1)],
    data: t.data.slice(from * width, (from + count) * width),
  };
}

const packed = (backend: Backend, w: HostTensor, to: 'q8_0' | 'q4_0'): HostTensor =>
  callOn(backend, 'packQuantized', callOn(backend, 'quantize', [w], { to }), {})[0]!;

describe.each(await cpuBuilds())('quantised products on $name', ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(() => {
    expect(backend.memoryUse()).toEqual({ buffers: 0, bytes: 0 });
    backend.dispose();
  });

  it.each(['q8_0', 'q4_0'] as const)('%s: a row has the same bits in any batch', (to) => {
    const [m, n, k] = [67, 260, 288];
    const w = packed(backend, normals(n, k), to);
    const x = callOn(backend, 'quantizeRows', [normals(m, k)], {});
    const [all] = callOn(backend, 'matmulQuantized', [...x, w], { columns: n });
    for (const count of [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 66])
      for (const from of [0, m - count]) {
        const some = x.map((t) => rowsOf(t, from, count));
        const [alone] = callOn(backend, 'matmulQuantized', [...some, w], { columns: n });
        expect(alone!.data, `${count} rows from ${from}`).toEqual(rowsOf(all!, from, count).data);
      }
  });

  it.each(['q8_0', 'q4_0'] as const)('%s: experts have the bits of their own products', (to) => {
    const [e, n, k] = [5, 70, 96];
    const counts = [1, 40, 0, 9, 100];
    const starts = counts.map((_, i) => counts.slice(0, i).reduce((sum, c) => sum + c, 0));
    const weights = normals(e, n, k);
    const x = callOn(backend, 'quantizeRows', [normals(160, k)], {});
    const inputs = [...x, packed(backend, weights, to), i32([e + 1], [...starts, 150])];
    const [y] = callOn(backend, 'groupedMatmulQuantized', inputs, { columns: n });
    counts.forEach((count, i) => {
      const own = { ...rowsOf(weights, i, 1), shape: [n, k] };
      const some = x.map((t) => rowsOf(t, starts[i]!, count));
      const [alone] = callOn(backend, 'matmulQuantized', [...some, packed(backend, own, to)], { columns: n });
      expect(rowsOf(y!, starts[i]!, count).data, `expert ${i}`).toEqual(alone!.data);
    });
    expect(rowsOf(y!, 150, 10).data.every((value) => value === 0)).toBe(true);
  });

  it('a token of the absorbed form has the same bits in any batch', () => {
    const [n, h, nope, value, rank] = [20, 3, 70, 34, 96];
    const w = callOn(backend, 'quantize', [normals(h, nope + value, rank)], { to: 'q8_0' })[0]!;
    const [q, z] = [normals(n, h, nope + 6), normals(n, h, rank)];
    const queries = (from: number, count: number) =>
      callOn(backend, 'absorbQueryQuantized', [rowsOf(q, from, count), w], { nope })[0]!;
    const outputs = (from: number, count: number) =>
      callOn(backend, 'absorbOutputQuantized', [rowsOf(z, from, count), w], { start: nope })[0]!;
    for (const product of [queries, outputs]) {
      const all = product(0, n);
      for (const count of [1, 2, 3, 4, 5, 8, 9, 10, 17])
        for (const from of [0, n - count])
          expect(product(from, count).data, `${count} from ${from}`).toEqual(rowsOf(all, from, count).data);
    }
  });

  it('a token of a mixture has the same bits in any batch', () => {
    const [n, d, f, s, e, k] = [40, 64, 96, 32, 6, 2];
    const matrices = (
      [
        [[e, f, d], 'q4_0'],
        [[e, f, d], 'q4_0'],
        [[e, d, f], 'q8_0'],
        [[s, d], 'q8_0'],
        [[s, d], 'q8_0'],
        [[d, s], 'q4_0'],
      ] as const
    ).map(([shape, to]) => packed(backend, normals(...shape), to));
    const [x, weights] = [normals(n, d), normals(n, k)];
    const indices = i32(
      [n, k],
      Array.from({ length: n * k }, (_, i) => (i * 5 + (i >> 3)) % e),
    );
    const mixture = (from: number, count: number) => {
      const [some, own, chosen] = [x, weights, indices].map((t) => rowsOf(t, from, count));
      const plan = callOn(backend, 'expertPlan', [chosen!], { experts: e });
      return callOn(backend, 'moeFeedForwardQuantized', [some!, own!, ...matrices, ...plan], {})[0]!;
    };
    const all = mixture(0, n);
    for (const [from, count] of [
      [7, 1],
      [39, 1],
      [3, 9],
      [1, 39],
    ] as const)
      expect(mixture(from, count).data, `${count} from ${from}`).toEqual(rowsOf(all, from, count).data);
  });
});

// Without a compiler there is no add-on, and nothing to test; where one was built, conformance fails unless it loads.
const describeNative = nativeAvailable().available ? describe : () => {};
describeNative('native threads', () => {
  it('do not change a bit of quantised weights and products', async () => {
    const backends = await Promise.all([1, 2, 3].map((threads) => createNative({ threads })));
    const both = <O extends OpName>(
      op: O,
      inputs: readonly HostTensor[],
      attributes: Attributes<O>,
    ): HostTensor[] => {
      const [one, ...more] = backends.map((backend) => callOn(backend, op, inputs, attributes));
      const bytes = ({ data: { buffer, byteOffset, byteLength } }: HostTensor) =>
        Buffer.from(buffer, byteOffset, byteLength);
      for (const other of more)
        other.forEach((result, i) => {
          expect(bytes(result).equals(bytes(one![i]!)), `${op} ${i}`).toBe(true);
        });
      return one!;
    };
    const x = both('quantizeRows', [normals(300, 512)], {});
    for (const to of ['q8_0', 'q4_0'] as const) {
      const [w] = both('packQuantized', both('quantize', [normals(4, 300, 512)], { to }), {});
      both('groupedMatmulQuantized', [...x, w!, i32([5], [0, 100, 100, 290, 298])], { columns: 300 });
      const own: HostTensor = { ...rowsOf(w!, 2, 1), shape: w!.shape.slice(1) };
      both('matmulQuantized', [...x, own], { columns: 300 });
      both('matmulQuantized', [...x.map((t) => rowsOf(t, 5, 1)), own], { columns: 300 });
    }
    for (const backend of backends) backend.dispose();
  });
});
