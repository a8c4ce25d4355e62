/**
 * Linear layers whose weights are stored as 8 or 4 bit integers, for inference.
 *
 * Weights are GGUF's blocks (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): 32 numbers along the input
 * axis share one f16 scale d. q8_0 holds integers q of -128 to 127, a number is d q; q4_0 holds n of 0 to 15, a number
 * is d (n - 8). Activations are rounded to 8 bits by the same 32, each group with an f32 scale, so a row does not
 * depend on its batch. Integer sums of a group are exact; groups add up in f32, in ascending order.
 */
import { formatShape, type Shape, sameShape } from '../dtype.ts';
import { absorbedOutputShape, absorbedQueryShape } from './attention.ts';
import { checkPlan } from './expert-feed-forward.ts';
import { allSame, anyOf, at, expect, f32, i8, i32, last, type OpRow } from './op-row.ts';

/** Numbers that share a scale, along the input axis. */
const GROUP = 32;
/** Columns of one tile of packed weights. */
const PACKED_COLUMNS = 32;

const blocks = ['q8_0', 'q4_0'] as const;
const weight = (name: string, rank: number | readonly [number, number]) => anyOf(name, blocks, rank);

function groupsOf(width: number): number {
  expect(width % GROUP === 0, `a width that is a multiple of ${GROUP}`);
  return width / GROUP;
}

/** [T, G, 1024]: tiles of 32 columns of a weight [columns, inner]. */
const tilesOf = (columns: number, inner: number): Shape => [
  Math.ceil(columns / PACKED_COLUMNS),
  groupsOf(inner),
  PACKED_COLUMNS * GROUP,
];

/** Checks that w holds the tiles of a weight [columns, inner], per expert where it has rank 4. */
function checkTiles(name: string, w: Shape, columns: number, inner: number): void {
  expect(columns >= 0, 'columns from 0 on');
  const tiles = tilesOf(columns, inner);
  expect(
    sameShape(w.slice(-3), tiles),
    `${name} packed by packQuantized from [${columns}, ${inner}], ${formatShape(tiles)}`,
  );
}

/** Checks rows and their scales against a packed weight; gives the shape of the product. */
function productShape(rows: Shape, scales: Shape, w: Shape, columns: number): Shape {
  expect(sameShape(scales, [at(rows, 0), groupsOf(at(rows, 1))]), 'scales [M, K / 32]');
  checkTiles('w', w, columns, at(rows, 1));
  return [at(rows, 0), columns];
}

/** Rows of the op table: products with quantised weights. */
export const quantizedOps = {
  quantize: {
    doc:
      'w as blocks of 32 along its last axis, each with the f16 scale that gives the least squared error among those tried: ' +
      'never more than with the scale of q8_0 (largest / 127) or q4_0 (signed largest / -8); a block with NaN or an infinity ' +
      'has the scale NaN',
    inputs: [f32('w', [1, 4])],
    outputs: [anyOf('blocks', blocks, [1, 4])],
    attributes: { to: blocks },
    shapes: ([w]) => {
      groupsOf(last(w!));
      return [w!];
    },
  },
  packQuantized: {
    doc:
      'w [N, K] of a linear layer (or [E, N, K]) as T = ceil(N / 32) tiles of G = K / 32 groups: each holds 32 columns of 32 k, ' +
      'then their 32 scales (layout: kernels/quantized.h); no number changes; zeros beyond N',
    inputs: [weight('w', [2, 3])],
    outputs: [weight('packed', [3, 4])],
    attributes: {},
    shapes: ([w]) => {
      const tiles = tilesOf(at(w!, w!.length - 2), last(w!));
      return [w!.length === 3 ? [at(w!, 0), ...tiles] : tiles];
    },
  },
  quantizeRows: {
    doc:
      'activations to 8 bits by groups of 32: scales = largest |x| / 127, rows = x / scales to the nearest even integer within ' +
      '+-127, 0 where the scale is 0; a group with NaN or an infinity has the scale NaN and zeros',
    inputs: [f32('x', 2)],
    outputs: [i8('rows', 2), f32('scales', 2)],
    attributes: {},
    shapes: ([x]) => [x!, [at(x!, 0), groupsOf(last(x!))]],
  },
  matmulQuantized: {
    doc:
      'y = x w^T with x as quantizeRows gives it and w [columns, K] packed by packQuantized: for each output, over ascending ' +
      'groups g, one chain of fused multiply-adds of (exact sum of integer products of g) and (scale of x times scale of w)',
    inputs: [i8('rows', 2), f32('scales', 2), weight('w', 3)],
    outputs: [f32('y', 2)],
    attributes: { columns: 'int' },
    shapes: ([rows, scales, w], { columns }) => [productShape(rows!, scales!, w!, columns!)],
  },
  groupedMatmulQuantized: {
    doc: 'rows offsets[e] .. offsets[e + 1] times w[e], as matmulQuantized; rows beyond offsets[E] give zeros',
    inputs: [i8('rows', 2), f32('scales', 2), weight('w', 4), i32('offsets', 1)],
    outputs: [f32('y', 2)],
    attributes: { columns: 'int' },
    shapes: ([rows, scales, w, offsets], { columns }) => {
      expect(at(offsets!, 0) === at(w!, 0) + 1, 'offsets [E + 1]');
      return [productShape(rows!, scales!, w!, columns!)];
    },
  },
  gatherRowsQuantized: {
    doc:
      'y[n] = row ids[n] of a table [columns, D] packed by packQuantized, each number its scale times its integer; zeros ' +
      'where ids[n] is out of range',
    inputs: [weight('table', 3), i32('ids', 1)],
    outputs: [f32('y', 2)],
    attributes: { columns: 'int' },
    shapes: ([table, ids], { columns }) => {
      const width = GROUP * at(table!, 1);
      checkTiles('table', table!, columns!, width);
      return [[at(ids!, 0), width]];
    },
  },
  absorbQueryQuantized: {
    doc: 'absorbQuery with w in blocks of 8 bits along R, each number its scale times its integer; q stays f32',
    inputs: [f32('q', 3), anyOf('w', ['q8_0'], 3)],
    outputs: [f32('y', 3)],
    attributes: { nope: 'int' },
    shapes: ([q, w], { nope }) => {
      groupsOf(last(w!));
      return absorbedQueryShape(q!, w!, nope!);
    },
  },
  absorbOutputQuantized: {
    doc: 'absorbOutput with w in blocks of 8 bits along R, each number its scale times its integer; z stays f32',
    inputs: [f32('z', 3), anyOf('w', ['q8_0'], 3)],
    outputs: [f32('y', 3)],
    attributes: { start: 'int' },
    shapes: ([z, w], { start }) => {
      groupsOf(last(w!));
      return absorbedOutputShape(z!, w!, start!);
    },
  },
  moeFeedForwardQuantized: {
    doc:
      'out of moeFeedForward with each of the six matrices packed by packQuantized: x and the hidden rows pass through ' +
      'quantizeRows; F and S are multiples of 32',
    inputs: [
      f32('x', 2),
      f32('weights', 2),
      weight('gate', 4),
      weight('up', 4),
      weight('down', 4),
      weight('sharedGate', 3),
      weight('sharedUp', 3),
      weight('sharedDown', 3),
      i32('offsets', 1),
      i32('rows', 1),
      i32('slots', 2),
    ],
    outputs: [f32('out', 2)],
    attributes: {},
    shapes: ([x, weights, gate, up, down, sharedGate, sharedUp, sharedDown, offsets, rows, slots]) => {
      const [n, d, experts] = [at(x!, 0), at(x!, 1), at(gate!, 0)];
      const [f, s] = [GROUP * at(down!, 2), GROUP * at(sharedDown!, 1)];
      checkTiles('gate', gate!, f, d);
      checkTiles('up', up!, f, d);
      checkTiles('down', down!, d, f);
      checkTiles('sharedGate', sharedGate!, s, d);
      checkTiles('sharedUp', sharedUp!, s, d);
      checkTiles('sharedDown', sharedDown!, d, s);
      allSame([gate!, up!], 'gate and up');
      expect(at(down!, 0) === experts, 'down of E experts');
      expect(at(slots!, 0) === n, 'slots [N, K]');
      checkPlan(weights!, [offsets!, rows!, slots!], experts);
      return [x!];
    },
  },
} as const satisfies Readonly<Record<string, OpRow>>;
