/**
 * Products of matrices, in f32 and with bf16 on the right, and their weights packed in tiles for inference.
 *
 * The order of every sum is part of the contract: it is what makes results independent of batch and threads.
 */
import { formatShape, type Shape, sameShape } from '../dtype.ts';
import { at, bf16, expect, f32, inout, last, type OpRow } from './op-row.ts';

function matmulShape(a: Shape, b: Shape, transA: number, transB: number): Shape {
  expect(
    a.length === b.length && (a.length === 2 || a.length === 3),
    'a and b both of rank 2 or both of rank 3',
  );
  if (a.length === 3) expect(a[0] === b[0], 'equal batch sizes');
  const o = a.length - 2;
  const [m, ka] = transA ? [at(a, o + 1), at(a, o)] : [at(a, o), at(a, o + 1)];
  const [kb, n] = transB ? [at(b, o + 1), at(b, o)] : [at(b, o), at(b, o + 1)];
  expect(ka === kb, `equal inner sizes, got ${ka} and ${kb}`);
  return o === 1 ? [at(a, 0), m, n] : [m, n];
}

/** Columns of one tile of packed weights. */
const PACKED_COLUMNS = 32;

/** [T, K, 32] of w [N, K], or [T, ceil(K / 2), 64] with `pairs` of k; E tiles' worth of each for w [E, N, K]. */
function packedShape(w: Shape, pairs: 1 | 2): Shape {
  const tiles = [
    Math.ceil(at(w, w.length - 2) / PACKED_COLUMNS),
    Math.ceil(last(w) / pairs),
    PACKED_COLUMNS * pairs,
  ];
  return w.length === 3 ? [at(w, 0), ...tiles] : tiles;
}

/** Checks x against packed weights; gives the shape of the product. */
export function packedCheck(x: Shape, packed: Shape, columns: number, pairs: 1 | 2): Shape {
  expect(columns >= 0, 'columns from 0 on');
  const tile = packedShape([columns, at(x, 1)], pairs);
  expect(sameShape(packed.slice(-3), tile), `w packed of [${columns}, ${at(x, 1)}], ${formatShape(tile)}`);
  return [at(x, 0), columns];
}

/** Rows of the op table: products of matrices. */
export const linearAlgebraOps = {
  matmul: {
    doc: 'c = op(a) op(b), rank 2 or batched rank 3; each output is one chain of fused multiply-adds over ascending k',
    inputs: [f32('a', [2, 3]), f32('b', [2, 3])],
    outputs: [f32('c', [2, 3])],
    attributes: { transA: 'int', transB: 'int' },
    shapes: ([a, b], { transA, transB }) => [matmulShape(a!, b!, transA!, transB!)],
  },
  matmulInto: {
    doc: 'c += op(a) op(b)',
    inputs: [f32('a', [2, 3]), f32('b', [2, 3]), inout(f32('c', [2, 3]))],
    outputs: [],
    attributes: { transA: 'int', transB: 'int' },
    shapes: ([a, b, c], { transA, transB }) => {
      expect(sameShape(matmulShape(a!, b!, transA!, transB!), c!), "c of the product's shape");
      return [];
    },
  },
  matmulBf16: {
    doc:
      'c = op(a) op(b) with b bf16 and a rounded to bf16 (nearest even); sums in f32, in an order that shapes do not change; on ' +
      'both sides numbers below 2^-126 count as zero',
    inputs: [f32('a', [2, 3]), bf16('b', [2, 3])],
    outputs: [f32('c', [2, 3])],
    attributes: { transA: 'int', transB: 'int' },
    shapes: ([a, b], { transA, transB }) => [matmulShape(a!, b!, transA!, transB!)],
  },
  packWeight: {
    doc:
      'w [N, K] of a linear layer (or [E, N, K]) as T = ceil(N / 32) tiles of columns, k-major: packed[t, k, c] = w[32 t + c, k], ' +
      'zeros beyond N',
    inputs: [f32('w', [2, 3])],
    outputs: [f32('packed', [3, 4])],
    attributes: {},
    shapes: ([w]) => [packedShape(w!, 1)],
  },
  packWeightBf16: {
    doc: 'packWeight of bf16, two k beside each other: packed[t, p, 2 c + i] = w[32 t + c, 2 p + i], zeros beyond N and K',
    inputs: [bf16('w', [2, 3])],
    outputs: [bf16('packed', [3, 4])],
    attributes: {},
    shapes: ([w]) => [packedShape(w!, 2)],
  },
  matmulPacked: {
    doc: 'y = x w^T with w [columns, K] packed by packWeight; the bits of matmul',
    inputs: [f32('x', 2), f32('w', 3)],
    outputs: [f32('y', 2)],
    attributes: { columns: 'int' },
    shapes: ([x, w], { columns }) => [packedCheck(x!, w!, columns!, 1)],
  },
  matmulPackedBf16: {
    doc: 'y = x w^T with w [columns, K] packed by packWeightBf16; the bits of matmulBf16',
    inputs: [f32('x', 2), bf16('w', 3)],
    outputs: [f32('y', 2)],
    attributes: { columns: 'int' },
    shapes: ([x, w], { columns }) => [packedCheck(x!, w!, columns!, 2)],
  },
} as const satisfies Readonly<Record<string, OpRow>>;
