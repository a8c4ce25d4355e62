/**
 * The reference itself against numbers it did not make: PyTorch's (fixtures/reference-ops.py) for every op that
 * PyTorch can express, and hand-computed ones for what the op table says about indices outside, ties, empty
 * ranges, NaN and storage types.
 */
import { readFileSync } from 'node:fs';
import {
  type Attributes,
  CommandList,
  type DType,
  elementCount,
  inferOutputs,
  type OpName,
  opNames,
  opRow,
  type Shape,
  type TensorRef,
} from '@minke/core';
import { describe, expect, it } from 'vitest';
import { createReference, type ReferenceBackend } from './index.ts';

interface Recorded {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: readonly number[];
}

interface Case {
  readonly op: OpName;
  readonly inputs: readonly Recorded[];
  readonly attributes: Attributes<OpName>;
  readonly written: readonly Recorded[];
}

const cases: Case[] = JSON.parse(
  readFileSync(new URL('../../fixtures/reference-ops.json', import.meta.url), 'utf8'),
);

/** Checked by hand below and in quantized.test.ts: PyTorch has no such op, or JSON not its numbers. */
const byHand: readonly OpName[] = [
  'rangeMask',
  'matmulBf16',
  'packWeight',
  'packWeightBf16',
  'matmulPacked',
  'matmulPackedBf16',
  'groupedMatmulBf16',
  'groupedMatmulPacked',
  'groupedMatmulPackedBf16',
  'moeFeedForwardPacked',
  'storeRounded',
  'attentionRounded',
  'latentAttentionRounded',
  'gatherRowsQuantized',
  'absorbQueryQuantized',
  'absorbOutputQuantized',
  'quantize',
  'packQuantized',
  'quantizeRows',
  'matmulQuantized',
  'groupedMatmulQuantized',
  'moeFeedForwardQuantized',
];

const f32 = (shape: Shape, data: readonly number[]): Recorded => ({ dtype: 'f32', shape, data });
const i32 = (shape: Shape, data: readonly number[]): Recorded => ({ dtype: 'i32', shape, data });

/** Runs one op and returns what it wrote: in-out inputs, then outputs. */
function run<O extends OpName>(
  backend: ReferenceBackend,
  op: O,
  inputs: readonly Recorded[],
  attributes: Attributes<O>,
): number[][] {
  const place = ({ dtype, shape }: { dtype: DType; shape: Shape }): TensorRef => ({
    buffer: backend.allocate(dtype, elementCount(shape)),
    dtype,
    shape,
    offset: 0,
  });
  const refs = inputs.map((input) => {
    const ref = place(input);
    const types = { f32: Float64Array, i32: Int32Array } as const;
    const type = input.dtype === 'f32' || input.dtype === 'i32' ? types[input.dtype] : Uint8Array;
    backend.write(ref.buffer, type.from(input.data));
    return ref;
  });
  const outputs = inferOutputs(op, refs, attributes).map(place);
  const list = new CommandList();
  list.record(op, refs, outputs, attributes);
  backend.submit(list);
  const changed = refs.filter((_, i) => opRow(op).inputs[i]!.inout);
  return [...changed, ...outputs].map(({ buffer }) => Array.from(backend.readSync(buffer)));
}

/** Largest difference over max(1, |expected|). */
function worst(got: readonly number[], want: readonly number[]): number {
  expect(got.length).toBe(want.length);
  return want.reduce((most, x, i) => Math.max(most, Math.abs(got[i]! - x) / Math.max(1, Math.abs(x))), 0);
}

describe('the reference gives the numbers of PyTorch', () => {
  // f64 leaves only the order of sums; f32 storage adds one rounding per output, and those of rounded inputs
  // (the saved lse, rstd, o of backward ops) amplified a little.
  for (const [bits, tolerance] of [
    [64, 1e-13],
    [32, 1e-6],
  ] as const) {
    it.each(opNames.filter((op) => !byHand.includes(op)))(`%s in f${bits}`, (op) => {
      const backend = createReference({ bits });
      const mine = cases.filter((one) => one.op === op);
      expect(mine.length).toBeGreaterThan(0);
      for (const { inputs, attributes, written } of mine) {
        const results = run(backend, op, inputs, attributes);
        expect(results.length).toBe(written.length);
        results.forEach((result, i) => {
          const limit = written[i]!.dtype === 'i32' ? 0 : tolerance;
          const label = `${op} ${JSON.stringify(attributes)} result ${i}`;
          expect(worst(result, written[i]!.data), label).toBeLessThanOrEqual(limit);
        });
      }
    });
  }

  it('records every enumerated attribute of every op', () => {
    for (const op of opNames.filter((name) => !byHand.includes(name))) {
      for (const [name, kind] of Object.entries(opRow(op).attributes)) {
        if (typeof kind !== 'object') continue;
        const used = new Set(
          cases
            .filter((one) => one.op === op)
            .map(({ attributes }) => (attributes as Readonly<Record<string, unknown>>)[name]),
        );
        // bf16 and f16, which JSON cannot hold as numbers, are below.
        const expected = kind.filter((word) => word !== 'bf16' && word !== 'f16');
        expect([...used].sort(), `${op} ${name}`).toEqual([...expected].sort());
      }
    }
  });
});

describe('the reference keeps the rules of the op table', () => {
  const backend = createReference();
  const no = -Infinity;

  it('rangeMask is 0 inside a range and -inf outside, whatever the range', () => {
    const ranges = i32([4, 2], [0, 2, -5, 1, 2, 9, 2, 1]);
    const want = [0, 0, no, 0, no, no, no, no, 0, no, no, no];
    expect(run(backend, 'rangeMask', [ranges], { size: 3 })).toEqual([want]);
  });

  it('a weight is packed by 32 columns, bf16 by pairs of k, and multiplies as before', () => {
    const w = f32(
      [33, 3],
      Array.from({ length: 99 }, (_, i) => i),
    );
    const [packed] = run(backend, 'packWeight', [w], {});
    expect(packed!.length).toBe(2 * 3 * 32);
    expect([packed![0], packed![1], packed![32], packed![96], packed![97]]).toEqual([0, 3, 1, 96, 0]);
    const x = f32([1, 3], [1, 10, 100]);
    const [y] = run(backend, 'matmul', [x, w], { transA: 0, transB: 1 });
    expect(y!.slice(0, 2)).toEqual([210, 543]);
    expect(run(backend, 'matmulPacked', [x, f32([2, 3, 32], packed!)], { columns: 33 })).toEqual([y]);
    const narrow = (t: Recorded): Recorded => ({
      ...t,
      dtype: 'bf16',
      data: run(backend, 'cast', [t], { to: 'bf16' })[0]!,
    });
    const [pairs] = run(backend, 'packWeightBf16', [narrow(w)], {});
    expect(pairs!.length).toBe(2 * 2 * 64 * 2);
    const words = new Uint16Array(Uint8Array.from(pairs!).buffer);
    expect([...words.slice(0, 4)]).toEqual([0, 0x3f80, 0x4040, 0x4080]);
    expect([...words.slice(64, 66)]).toEqual([0x4000, 0]);
    const packedPairs: Recorded = { dtype: 'bf16', shape: [2, 2, 64], data: pairs! };
    expect(run(backend, 'matmulPackedBf16', [x, packedPairs], { columns: 33 })).toEqual([y]);
    const [two, offsets] = [f32([2, 3], [1, 10, 100, 1, 0, 0]), i32([3], [0, 1, 2])];
    const experts = f32([2, 1, 3], [1, 2, 3, 4, 5, 6]);
    const [each] = run(backend, 'groupedMatmul', [two, experts, offsets], { transW: 1 });
    expect(each).toEqual([321, 4]);
    expect(run(backend, 'groupedMatmulBf16', [two, narrow(experts), offsets], { transW: 1 })).toEqual([each]);
    const tiles = f32([2, 1, 3, 32], run(backend, 'packWeight', [experts], {})[0]!);
    expect(run(backend, 'groupedMatmulPacked', [two, tiles, offsets], { columns: 1 })).toEqual([each]);
    const bytes = run(backend, 'packWeightBf16', [narrow(experts)], {})[0]!;
    const tilesBf16: Recorded = { dtype: 'bf16', shape: [2, 1, 2, 64], data: bytes };
    expect(run(backend, 'groupedMatmulPackedBf16', [two, tilesBf16, offsets], { columns: 1 })).toEqual([
      each,
    ]);
  });

  it('a product with bf16 rounds the other side to nearest even and takes subnormal numbers as zero', () => {
    const one: Recorded = { dtype: 'bf16', shape: [1, 1], data: [0x80, 0x3f] };
    const a = f32([5, 1], [1.00390625, 1.01171875, 1e-39, 2 ** -126, no]);
    const attributes = { transA: 0, transB: 0 };
    expect(run(backend, 'matmulBf16', [a, one], attributes)).toEqual([[1, 1.015625, 0, 2 ** -126, no]]);
    const subnormal: Recorded = { dtype: 'bf16', shape: [1, 1], data: [0x7f, 0] };
    expect(run(backend, 'matmulBf16', [f32([1, 1], [2 ** 100]), subnormal], attributes)).toEqual([[0]]);
  });

  it('rows gathered from outside are zero, scattered outside are dropped, and the last duplicate wins', () => {
    const table = f32([2, 2], [1, 2, 3, 4]);
    const ids = i32([4], [1, -1, 2, 1]);
    const x = f32([4, 2], [10, 20, 30, 40, 50, 60, 70, 80]);
    expect(run(backend, 'gatherRows', [table, ids], {})).toEqual([[3, 4, 0, 0, 0, 0, 3, 4]]);
    expect(run(backend, 'scatterAddRows', [x, ids, table], {})).toEqual([[1, 2, 83, 104]]);
    expect(run(backend, 'scatterRows', [x, ids, table], {})).toEqual([[1, 2, 70, 80]]);
    const columns = i32([2, 2], [1, 1, -1, 5]);
    expect(run(backend, 'gatherLast', [table, columns], {})).toEqual([[2, 2, 0, 0]]);
    expect(run(backend, 'scatterLast', [table, columns], { size: 2 })).toEqual([[0, 3, 0, 0]]);
    expect(run(backend, 'histogram', [ids], { size: 2 })).toEqual([[0, 2]]);
  });

  it('reductions of nothing, and softmax of rows of only -inf', () => {
    const nothing = f32([2, 0], []);
    const reduce = (kind: 'sum' | 'mean' | 'max') => run(backend, 'reduce', [nothing], { kind, axis: 1 })[0];
    expect([reduce('sum'), reduce('mean'), reduce('max')]).toEqual([
      [0, 0],
      [0, 0],
      [no, no],
    ]);
    const x = f32([2, 2], [no, no, no, 7]);
    expect(run(backend, 'softmax', [x], { kind: 'softmax' })).toEqual([[0, 0, 0, 1]]);
    expect(run(backend, 'softmax', [x], { kind: 'log' })).toEqual([[no, no, no, 0]]);
  });

  it('topK breaks ties to the lowest index and counts NaN as -inf', () => {
    const x = f32([2, 4], [1, 3, 3, NaN, NaN, no, NaN, -1]);
    expect(run(backend, 'topK', [x], { k: 3 })).toEqual([
      [3, 3, 1, -1, no, no],
      [1, 2, 0, 3, 0, 1],
    ]);
  });

  it('routeSelect keeps to the chosen groups even where nothing there is finite', () => {
    const scores = f32([2, 4], [NaN, no, 5, no, 1, 1, 1, 1]);
    const bias = f32([4], [0, 0, 0, 0]);
    const attributes = { k: 2, groups: 2, topGroups: 1 } as const;
    const select = (groupScore: 'max' | 'top2Sum') =>
      run(backend, 'routeSelect', [scores, bias], { ...attributes, groupScore });
    expect(select('max')).toEqual([[2, 3, 0, 1]]);
    // 5 + -inf ties with the first group's -inf: the lowest group stays.
    expect(select('top2Sum')).toEqual([[0, 1, 0, 1]]);
  });

  it('expertPlan leaves out what no expert takes, and products and sums skip it', () => {
    const indices = i32([3, 2], [1, -1, 0, 1, 2, 7]);
    const [offsets, rows, slots] = run(backend, 'expertPlan', [indices], { experts: 3 });
    expect(offsets).toEqual([0, 1, 3, 4]);
    expect(rows).toEqual([1, 0, 1, 2, -1, -1]);
    expect(slots).toEqual([1, -1, 0, 2, 3, -1]);
    const y = f32([6, 1], [1, 2, 4, 8, 16, 32]);
    const weights = f32([3, 2], [1, 1, 10, 1, 1, 1]);
    const combine = [y, weights, i32([3, 2], slots!)];
    expect(run(backend, 'moeCombine', combine, {})).toEqual([[2, 14, 8]]);
    expect(run(backend, 'moeCombineGrad', [...combine, f32([3, 1], [1, 2, 3])], {})).toEqual([
      [20, 1, 2, 3, 0, 0],
      [2, 0, 2, 8, 24, 0],
    ]);
    const w = f32([3, 1, 1], [1, 10, 100]);
    const grouped = [y, w, i32([4], [-2, 1, 3, 99])];
    expect(run(backend, 'groupedMatmul', grouped, { transW: 1 })).toEqual([[1, 20, 40, 800, 1600, 3200]]);
    const planned = [y, w, i32([4], offsets!)];
    expect(run(backend, 'groupedMatmul', planned, { transW: 0 })).toEqual([[1, 20, 40, 800, 0, 0]]);
    expect(run(backend, 'groupedMatmulGradWeight', [y, y, i32([4], offsets!), w], {})).toEqual([
      [1 + 1, 10 + 4 + 16, 100 + 64],
    ]);
  });

  it('attention over an empty range gives zeros and -inf, and ranges are clamped', () => {
    const q = f32([3, 1, 1], [1, 1, 1]);
    const k = f32([2, 1, 1], [0, Math.log(3)]);
    const v = f32([2, 1, 1], [4, 8]);
    const ranges = i32([3, 2], [1, 1, -4, 9, 1, 0]);
    const [o, lse] = run(backend, 'attention', [q, k, v, ranges], { scale: 1 });
    expect(o).toEqual([0, 7, 0]);
    expect([lse![0], lse![2]]).toEqual([no, no]);
    expect(lse![1]).toBeCloseTo(Math.log(4), 6);
    const saved = [f32([3, 1, 1], o!), f32([3, 1], lse!), f32([3, 1, 1], [5, 1, 5])];
    const [dq, dk, dv] = run(backend, 'attentionGrad', [q, k, v, ranges, ...saved], { scale: 1 });
    // p = (1/4, 3/4); ds = p (v - 7) = (-3/4, 3/4); dq = sum ds k.
    expect(worst(dq!, [0, 0.75 * Math.log(3), 0])).toBeLessThan(1e-6);
    expect(worst(dk!, [-0.75, 0.75])).toBeLessThan(1e-6);
    expect(worst(dv!, [0.25, 0.75])).toBeLessThan(1e-6);
    const cache = f32([2, 1], [0, 2]);
    const latent = run(backend, 'latentAttention', [q, cache, ranges], {
      scale: Math.log(3) / 2,
      valueWidth: 1,
    });
    expect(worst(latent[0]!, [0, 1.5, 0])).toBeLessThan(1e-6);
    const halves: Recorded = { dtype: 'bf16', shape: [2, 1], data: [0, 0, 0, 0x40] };
    const rounded = run(backend, 'latentAttentionRounded', [q, halves, ranges], {
      scale: Math.log(3) / 2,
      valueWidth: 1,
      bfloat: 0,
    });
    expect(worst(rounded[0]!, [0, 1.5, 0])).toBeLessThan(1e-6);
  });

  it('rounded rows are bf16 to nearest even, or blocks with zeros up to whole ones', () => {
    const halves: Recorded = { dtype: 'bf16', shape: [2, 2], data: new Array<number>(8).fill(0) };
    const x = f32([2, 2], [1 + 2 ** -8, -2.5, 1 + 3 * 2 ** -8, 4]);
    const [one, two] = [
      [0x80, 0x3f, 0x20, 0xc0],
      [0x82, 0x3f, 0x80, 0x40],
    ] as const;
    const written = run(backend, 'storeRounded', [halves, x, i32([2], [1, 7])], {});
    expect(written).toEqual([
      [0, 0, 0, 0, ...one],
      [...one, ...two],
    ]);
    const blocks: Recorded = { dtype: 'q8_0', shape: [1, 32], data: new Array<number>(34).fill(0) };
    const block = [0, 0x3c, 127, 254, 1, ...new Array<number>(29).fill(0)];
    const few = f32([1, 3], [127, -2, 1]);
    expect(run(backend, 'storeRounded', [blocks, few, i32([1], [0])], {})).toEqual([block, block]);
    expect(() => run(backend, 'storeRounded', [{ ...blocks, shape: [32, 1] }, few, few], {})).toThrow(
      /whole blocks of 32/,
    );
  });

  it('targets and positions outside give zero loss, zero gradient and zero columns', () => {
    const logits = f32([2, 2], [0, 0, 0, 0]);
    const targets = i32([2], [1, 2]);
    const [loss, lse] = run(backend, 'crossEntropy', [logits, targets], {});
    expect(worst(loss!, [Math.LN2, 0])).toBeLessThan(1e-6);
    expect(worst(lse!, [Math.LN2, Math.LN2])).toBeLessThan(1e-6);
    const saved = [f32([2], lse!), f32([2], [1, 1])];
    const [dlogits] = run(backend, 'crossEntropyGrad', [logits, targets, ...saved], {});
    expect(worst(dlogits!, [0.5, -0.5, 0, 0])).toBeLessThan(1e-6);
    const x = f32([2, 1, 3], [1, 2, 3, 4, 5, 6]);
    const rope = [x, f32([1, 1], [0]), f32([1, 1], [1]), i32([2], [0, 1])];
    expect(run(backend, 'rope', rope, { start: 1, layout: 'half', inverse: 0 })).toEqual([
      [1, -3, 2, 4, 0, 0],
    ]);
  });

  it('narrow types round to nearest even, and integers too, saturating', () => {
    const x = f32([4], [1, 1.00390625, 1.01171875, -2]);
    expect(run(backend, 'cast', [x], { to: 'bf16' })).toEqual([
      [0x80, 0x3f, 0x80, 0x3f, 0x82, 0x3f, 0, 0xc0],
    ]);
    expect(run(backend, 'cast', [x], { to: 'f16' })).toEqual([[0, 0x3c, 4, 0x3c, 12, 0x3c, 0, 0xc0]]);
    expect(run(backend, 'cast', [f32([3], [3e9, -3e9, NaN])], { to: 'i32' })).toEqual([
      [0x7fffffff, -0x80000000, 0],
    ]);
    const half: Recorded = { dtype: 'f16', shape: [2], data: [0, 0x3e, 0, 0xfc] };
    expect(run(backend, 'cast', [half], { to: 'f32' })).toEqual([[1.5, no]]);
    expect(run(backend, 'fill', [half], { value: -2 })).toEqual([[0, 0xc0, 0, 0xc0]]);
    expect(run(backend, 'fill', [i32([2], [5, 6])], { value: 3 })).toEqual([[3, 3]]);
  });
});

describe('createReference', () => {
  it('computes in f64 throughout in its checking mode', () => {
    const backend = createReference({ bits: 64 });
    expect(backend.info.bits).toBe(64);
    const third = 1 / 3;
    const [y] = run(backend, 'unary', [f32([1], [third])], { kind: 'neg', a: 0, b: 0 });
    expect(y).toEqual([-third]);
    expect(run(createReference(), 'unary', [f32([1], [third])], { kind: 'neg', a: 0, b: 0 })).toEqual([
      [-Math.fround(third)],
    ]);
  });

  it('refuses an output over an input, and lets tensors lie side by side in one buffer', () => {
    const backend = createReference();
    const buffer = backend.allocate('f32', 6);
    const view = (offset: number): TensorRef => ({ buffer, dtype: 'f32', shape: [3], offset });
    const list = (to: number) => {
      const commands = new CommandList();
      commands.record('unary', [view(0)], [view(to)], { kind: 'neg', a: 0, b: 0 });
      return commands;
    };
    expect(() => backend.submit(list(2))).toThrow('apart from all others');
    backend.submit(list(3));
  });

  it('throws after dispose, and names what it was asked', () => {
    const backend = createReference();
    const buffer = backend.allocate('f32', 1);
    backend.dispose();
    expect(backend.memoryUse()).toEqual({ buffers: 0, bytes: 0 });
    expect(() => backend.readSync(buffer)).toThrow('read: the backend is disposed');
    expect(() => backend.allocate('f32', 1)).toThrow('disposed');
  });

  it('refuses an absurd allocation with out-of-memory', () => {
    expect(() => createReference().allocate('f32', 2 ** 50)).toThrow(
      expect.objectContaining({ code: 'out-of-memory' }),
    );
  });
});
