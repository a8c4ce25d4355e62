/**
 * What the conformance suite does not ask of the CPU kernels: matrix products of every edge size against f64
 * loops, equal bits over thread counts, batch composition and accumulation, memory and its errors.
 */
import {
  type Attributes,
  type Backend,
  CommandList,
  elementCount,
  encodeAttributes,
  float32ToBfloat16,
  type HostArray,
  inferOutputs,
  MinkeError,
  type OpName,
  Random,
  type TensorRef,
} from '@minke/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cpuBuilds } from '../testing/cpu-builds.ts';
import { createNative, nativeAvailable } from './index.ts';

const random = new Random(7);
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

interface Host {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}
const f32 = (...shape: number[]): Host => ({ shape, data: normals(elementCount(shape)) });
const i32 = (shape: number[], at: (i: number) => number): Host => ({
  shape,
  data: Int32Array.from({ length: elementCount(shape) }, (_, i) => at(i)),
});

/** f32 numbers as bf16 storage. */
const bf16 = ({ shape, data }: Host): Host => ({
  shape,
  data: new Uint8Array(float32ToBfloat16(data as Float32Array).buffer),
});

function upload(backend: Backend, { shape, data }: Host): TensorRef {
  const dtype = data instanceof Int32Array ? 'i32' : data instanceof Uint8Array ? 'bf16' : 'f32';
  const buffer = backend.allocate(dtype, elementCount(shape));
  backend.write(buffer, data);
  return { buffer, dtype, shape, offset: 0 };
}

/** Runs one call and returns its outputs, or its last input for an op that works in place. */
function call<O extends OpName>(
  backend: Backend,
  op: O,
  inputs: readonly Host[],
  attributes: Attributes<O>,
): HostArray[] {
  const refs = inputs.map((input) => upload(backend, input));
  const outputs = inferOutputs(op, refs, attributes).map(({ dtype, shape }) => ({
    buffer: backend.allocate(dtype, elementCount(shape)),
    dtype,
    shape,
    offset: 0,
  }));
  const list = new CommandList();
  list.record(op, refs, outputs, attributes);
  backend.submit(list);
  const results = (outputs.length ? outputs : refs.slice(-1)).map(({ buffer }) => backend.readSync!(buffer));
  for (const { buffer } of [...refs, ...outputs]) backend.release(buffer);
  return results;
}

/** The product in f64, and the sum of absolute products that bounds rounding errors. */
function product(a: Host, b: Host, transA: number, transB: number) {
  const [m, k] = transA ? [a.shape[1]!, a.shape[0]!] : [a.shape[0]!, a.shape[1]!];
  const n = transB ? b.shape[0]! : b.shape[1]!;
  const value = new Float64Array(m * n);
  const size = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++)
      for (let l = 0; l < k; l++) {
        const x = a.data[transA ? l * m + i : i * k + l]! * b.data[transB ? j * k + l : l * n + j]!;
        value[i * n + j]! += x;
        size[i * n + j]! += Math.abs(x);
      }
  return { value, size, k };
}

describe.each(await cpuBuilds())('$name', ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(() => backend.dispose());

  it('multiplies matrices of every edge size, all transposed forms, as f64 loops do', () => {
    const sizes = [
      [1, 1, 1], [1, 300, 33], [2, 17, 16], [5, 3, 31], [7, 64, 48], [11, 257, 15], [12, 256, 32],
      [13, 511, 65], [25, 520, 33], [48, 31, 96], [61, 100, 7], [130, 70, 129],
    ] as const; // biome-ignore format: a table
    for (const [m, k, n] of sizes)
      for (const [transA, transB] of [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
      ] as const) {
        const a = transA ? f32(k, m) : f32(m, k);
        const b = transB ? f32(n, k) : f32(k, n);
        const [c] = call(backend, 'matmul', [a, b], { transA, transB });
        const { value, size } = product(a, b, transA, transB);
        const worst = value.reduce((most, x, i) => Math.max(most, Math.abs(c![i]! - x) / size[i]!), 0);
        expect(worst, `${m} ${k} ${n} ${transA} ${transB}`).toBeLessThan((k + 1) * 2 ** -23);
      }
  });

  it('gives a row of a product the same bits in any batch', () => {
    const x = f32(67, 300);
    for (const transB of [0, 1] as const) {
      const w = transB ? f32(70, 300) : f32(300, 70);
      const [all] = call(backend, 'matmul', [x, w], { transA: 0, transB });
      for (const [row, count] of [
        [0, 1],
        [13, 1],
        [66, 1],
        [5, 3],
        [20, 4],
        [1, 8],
        [40, 9],
      ] as const) {
        const some = { shape: [count, 300], data: x.data.slice(row * 300, (row + count) * 300) };
        const [alone] = call(backend, 'matmul', [some, w], { transA: 0, transB });
        expect(alone, `${count} rows from ${row}`).toEqual(all!.slice(row * 70, (row + count) * 70));
      }
    }
  });

  it('gives packed weights the bits of plain ones, and a row the same bits in any batch', () => {
    for (const [k, n] of [
      [300, 70],
      [1031, 33],
      [515, 400],
    ] as const) {
      const [x, w] = [f32(67, k), f32(n, k)];
      const kinds = [
        ['matmul', 'packWeight', 'matmulPacked', w],
        ['matmulBf16', 'packWeightBf16', 'matmulPackedBf16', bf16(w)],
      ] as const;
      for (const [plain, pack, multiply, weight] of kinds) {
        const [tiles] = call(backend, pack, [weight], {});
        const pairs = pack === 'packWeight' ? 1 : 2;
        const shape = [Math.ceil(n / 32), Math.ceil(k / pairs), 32 * pairs];
        const packed: Host = { shape, data: tiles as Float32Array | Uint8Array };
        const [all] = call(backend, plain, [x, weight], { transA: 0, transB: 1 });
        expect(call(backend, multiply, [x, packed], { columns: n })[0], `${multiply} ${k} ${n}`).toEqual(all);
        for (const count of [1, 2, 3, 7, 12, 13, 64])
          for (const row of count === 1 ? Array.from({ length: 67 }, (_, i) => i) : [0, 3]) {
            const some = { shape: [count, k], data: x.data.slice(row * k, (row + count) * k) };
            const want = all!.slice(row * n, (row + count) * n);
            const label = `${count} rows from ${row} of ${k} to ${n}`;
            const [ours] = call(backend, plain, [some, weight], { transA: 0, transB: 1 });
            expect(ours, `${plain} ${label}`).toEqual(want);
            const [its] = call(backend, multiply, [some, packed], { columns: n });
            expect(its, `${multiply} ${label}`).toEqual(want);
          }
      }
    }
  });

  it('gives a whole mixture the same bits from packed matrices, and a token the same in any batch', () => {
    const [n, d, e, k] = [21, 50, 5, 2];
    for (const [f, s] of [
      [40, 40],
      [33, 70],
      [40, 0],
    ] as const) {
      const matrices = [f32(e, f, d), f32(e, f, d), f32(e, d, f), f32(s, d), f32(s, d), f32(d, s)];
      const tiles = matrices.map((w): Host => {
        const [rows, inner] = w.shape.slice(-2) as [number, number];
        const shape = [...w.shape.slice(0, -2), Math.ceil(rows / 32), inner, 32];
        return { shape, data: call(backend, 'packWeight', [w], {})[0] as Float32Array };
      });
      const mixture = (x: Host, weights: Host, indices: Host) => {
        const [offsets, rows, slots] = call(backend, 'expertPlan', [indices], { experts: e });
        const host = (shape: number[], data: unknown): Host => ({ shape, data: data as Int32Array });
        const plan = [host([e + 1], offsets), host([x.shape[0]! * k], rows), host([...indices.shape], slots)];
        const [plain] = call(backend, 'moeFeedForward', [x, weights, ...matrices, ...plan], {});
        const [packed] = call(backend, 'moeFeedForwardPacked', [x, weights, ...tiles, ...plan], {});
        expect(packed).toEqual(plain);
        return packed!;
      };
      const [x, weights] = [f32(n, d), f32(n, k)];
      const indices = i32([n, k], (i) => (i % 2 ? 2 + (i % 3) : Math.floor(i / 2) % 2));
      const all = mixture(x, weights, indices);
      const part = ({ shape, data }: Host): Host => ({
        shape: [1, shape[1]!],
        data: data.slice(7 * shape[1]!, 8 * shape[1]!),
      });
      expect(mixture(part(x), part(weights), part(indices))).toEqual(all.slice(7 * d, 8 * d));
    }
  });

  it('gives experts the bits of their own product, packed or not, f32 and bf16', () => {
    const [e, n, k] = [5, 70, 131];
    const counts = [1, 40, 0, 9, 100];
    const starts = counts.map((_, i) => counts.slice(0, i).reduce((sum, c) => sum + c, 0));
    const offsets = i32([e + 1], (i) => starts[i] ?? 150);
    const [x, w] = [f32(150, k), f32(e, n, k)];
    for (const [plain, grouped, pack, multiply, weight] of [
      ['matmul', 'groupedMatmul', 'packWeight', 'groupedMatmulPacked', w],
      ['matmulBf16', 'groupedMatmulBf16', 'packWeightBf16', 'groupedMatmulPackedBf16', bf16(w)],
    ] as const) {
      const [y] = call(backend, grouped, [x, weight, offsets], { transW: 1 });
      const [tiles] = call(backend, pack, [weight], {});
      const pairs = pack === 'packWeight' ? 1 : 2;
      const shape = [e, Math.ceil(n / 32), Math.ceil(k / pairs), 32 * pairs];
      const packed: Host = { shape, data: tiles as Float32Array | Uint8Array };
      expect(call(backend, multiply, [x, packed, offsets], { columns: n })[0]).toEqual(y);
      const size = weight.data.length / e;
      counts.forEach((count, i) => {
        const rows = { shape: [count, k], data: x.data.slice(starts[i]! * k, (starts[i]! + count) * k) };
        const own: Host = { shape: [n, k], data: weight.data.slice(i * size, (i + 1) * size) };
        const [alone] = call(backend, plain, [rows, own], { transA: 0, transB: 1 });
        expect(y!.slice(starts[i]! * n, (starts[i]! + count) * n), `expert ${i}`).toEqual(alone);
      });
    }
  });

  it('accumulates two batches into the bits of both at once', () => {
    const [x, dy] = [f32(600, 33), f32(600, 20)];
    const rows = ({ shape, data }: Host, from: number, to: number): Host => ({
      shape: [to - from, shape[1]!],
      data: data.slice(from * shape[1]!, to * shape[1]!),
    });
    const zeros = { shape: [20, 33], data: new Float32Array(660) };
    const into = (from: number, to: number, c: Host) =>
      call(backend, 'matmulInto', [rows(dy, from, to), rows(x, from, to), c], { transA: 1, transB: 0 })[0]!;
    const halves = into(217, 600, { shape: [20, 33], data: into(0, 217, zeros) as Float32Array });
    expect(halves).toEqual(into(0, 600, zeros));
  });

  it.each([19, 32, 100])(
    'gives a query the same bits alone, in a batch, behind other keys (width %i)',
    (width) => {
      const [length, heads, before] = [150, 2, 37];
      const [q, k, v] = [f32(length, heads, 24), f32(length, heads, 24), f32(length, heads, width)];
      const causal = i32([length, 2], (i) => (i % 2 ? (i + 1) / 2 : 0));
      const [o, lse] = call(backend, 'attention', [q, k, v, causal], { scale: 0.2 });
      const shifted = (t: Host): Host => ({
        shape: [length + before, heads, t.shape[2]!],
        data: Float32Array.of(...normals(before * heads * t.shape[2]!), ...t.data),
      });
      for (const n of [0, 63, 64, 149]) {
        const one = { shape: [1, heads, 24], data: q.data.slice(n * heads * 24, (n + 1) * heads * 24) };
        const range = i32([1, 2], (i) => before + (i ? n + 1 : 0));
        const [alone, itsLse] = call(backend, 'attention', [one, shifted(k), shifted(v), range], {
          scale: 0.2,
        });
        expect(alone).toEqual(o!.slice(n * heads * width, (n + 1) * heads * width));
        expect(itsLse).toEqual(lse!.slice(n * heads, (n + 1) * heads));
      }
    },
  );

  it('does not let what lies outside a range into a query, not even NaN', () => {
    const [q, k, v] = [f32(40, 1, 8), f32(40, 1, 8), f32(40, 1, 8)];
    const causal = i32([40, 2], (i) => (i % 2 ? (i + 1) / 2 : 0));
    const [clean] = call(backend, 'attention', [q, k, v, causal], { scale: 1 });
    for (const t of [k, v]) t.data.fill(Number.NaN, 20 * 8);
    const [dirty] = call(backend, 'attention', [q, k, v, causal], { scale: 1 });
    expect(dirty!.slice(0, 160)).toEqual(clean!.slice(0, 160));
  });

  it('keeps what memory holds while it grows', () => {
    const small = upload(backend, f32(1000));
    const before = backend.readSync!(small.buffer);
    const big = backend.allocate('f32', 20_000_000);
    backend.write(big, Float32Array.of(1, 2), 19_999_998);
    expect(backend.readSync!(big, 19_999_997, 3).slice(1)).toEqual(Float32Array.of(1, 2));
    expect(backend.readSync!(small.buffer)).toEqual(before);
    backend.release(big);
    backend.release(small.buffer);
  });

  it('refuses wrong memory use with a reason', () => {
    const code = (action: () => unknown) => {
      try {
        action();
      } catch (error) {
        if (MinkeError.isInstance(error)) return error.code;
      }
      return 'nothing';
    };
    const buffer = backend.allocate('f32', 4);
    expect(code(() => backend.allocate('f32', 2 ** 50))).toBe('out-of-memory');
    expect(code(() => backend.allocate('q8_0', 33))).toBe('invalid-argument');
    expect(code(() => backend.write(buffer, Int32Array.of(1)))).toBe('invalid-argument');
    expect(code(() => backend.write(buffer, new Float32Array(3), 2))).toBe('invalid-argument');
    expect(code(() => backend.readSync!(buffer, 3, 2))).toBe('invalid-argument');
    const ref: TensorRef = { buffer, dtype: 'f32', shape: [4], offset: 0 };
    const list = new CommandList();
    list.record('fill', [ref], [], { value: 1 });
    backend.release(buffer);
    expect(code(() => backend.release(buffer))).toBe('invalid-argument');
    expect(code(() => backend.submit(list))).toBe('invalid-argument');
    expect(backend.memoryUse()).toEqual({ buffers: 0, bytes: 0 });
  });

  it('refuses bound attributes that do not fit the recorded shapes', () => {
    const [x, y] = [upload(backend, f32(4, 6)), upload(backend, f32(4, 2))];
    const list = new CommandList();
    list.record('slice', [x], [y], { axis: 1, start: 0, size: 2 });
    const bound = (axis: number, start: number, size: number) =>
      backend.submit(list.close(), {
        attributes: new Map([[0, encodeAttributes('slice', { axis, start, size })]]),
      });
    bound(1, 4, 2);
    const wanted = backend.readSync!(x.buffer, 4, 2);
    expect(backend.readSync!(y.buffer, 0, 2)).toEqual(wanted);
    expect(() => bound(1, 5, 2)).toThrow('within 6');
    expect(() => bound(1, 0, 3)).toThrow('keep the shapes');
    expect(() => bound(0, 0, 2)).toThrow('keep the shapes');
    for (const { buffer } of [x, y]) backend.release(buffer);
  });
});

// Without a compiler there is no add-on, and nothing to test; where one was built, conformance fails unless it loads.
const describeNative = nativeAvailable().available ? describe : () => {};
describeNative('native threads', () => {
  it('do not change a bit of large products, attention and reductions', async () => {
    const backends = await Promise.all([1, 2, 3].map((threads) => createNative({ threads })));
    const segments = i32([700, 2], (i) => (i % 2 ? (i + 1) / 2 : Math.floor(i / 2 / 100) * 100));
    const both = <O extends OpName>(op: O, inputs: readonly Host[], attributes: Attributes<O>) => {
      const [one, ...more] = backends.map((backend) => call(backend, op, inputs, attributes));
      const bytes = ({ buffer, byteOffset, byteLength }: HostArray) =>
        Buffer.from(buffer, byteOffset, byteLength);
      for (const other of more)
        other.forEach((result, i) => {
          expect(bytes(result).equals(bytes(one![i]!)), `${op} ${i}`).toBe(true);
        });
    };
    both('matmul', [f32(500, 300), f32(260, 300)], { transA: 0, transB: 1 });
    // More than is packed at once: the depth is cut, and experts are packed in several rounds.
    both('matmul', [f32(300, 9000), f32(9000, 200)], { transA: 0, transB: 0 });
    const uneven = i32([25], (e) => (e ? 680 + e * 20 : 0));
    both('groupedMatmul', [f32(1160, 600), f32(24, 300, 600), uneven], { transW: 1 });
    both('matmulBf16', [f32(500, 300), bf16(f32(500, 260))], { transA: 1, transB: 0 });
    both('matmulPacked', [f32(33, 500), f32(40, 500, 32)], { columns: 1270 });
    both('matmulPackedBf16', [f32(5, 500), bf16(f32(40, 250, 64))], { columns: 1270 });
    both('matmulInto', [f32(3000, 64), f32(3000, 100), f32(64, 100)], { transA: 1, transB: 0 });
    const offsets = i32([5], (e) => [0, 400, 400, 411, 900][e]!);
    both('groupedMatmul', [f32(1000, 96), f32(4, 80, 96), offsets], { transW: 1 });
    const gradInputs = [f32(1000, 80), f32(1000, 96), offsets, f32(4, 80, 96)];
    both('groupedMatmulGradWeight', gradInputs, {});
    const [q, k, v] = [f32(700, 4, 24), f32(700, 2, 24), f32(700, 2, 16)];
    both('attention', [q, k, v, segments], { scale: 0.2 });
    const saved = [f32(700, 4, 16), f32(700, 4), f32(700, 4, 16)];
    both('attentionGrad', [q, k, v, segments, ...saved], { scale: 0.2 });
    both('rmsNormGrad', [f32(3000, 40), f32(40), f32(3000), f32(3000, 40)], {});
    both('reduce', [f32(3000, 40)], { kind: 'sum', axis: 0 });
    both('sumSquares', [f32(200_000), f32(1)], {});
    const ids = i32([3000], (i) => (i * 7) % 50);
    both('scatterAddRows', [f32(3000, 130), ids, f32(50, 130)], {});
    for (const backend of backends) backend.dispose();
  });

  it('of several backends live side by side and can be disposed in any order', async () => {
    const backends = await Promise.all([1, 3, 2].map((threads) => createNative({ threads })));
    const inputs = [f32(200, 64), f32(64, 64)];
    const results = backends.map((b) => call(b, 'matmul', inputs, { transA: 0, transB: 0 })[0]);
    expect(results[1]).toEqual(results[0]);
    backends[1]!.dispose();
    expect(call(backends[2]!, 'matmul', inputs, { transA: 0, transB: 0 })[0]).toEqual(results[0]);
    expect(() => backends[1]!.allocate('f32', 1)).toThrow('disposed');
    backends[2]!.dispose();
    backends[0]!.dispose();
  });

  it('are bounded', async () => {
    await expect(createNative({ threads: 0 })).rejects.toThrow('1 to 64');
    await expect(createNative({ instructionSet: 'mmx' })).rejects.toMatchObject({ code: 'unsupported' });
  });
});
