/**
 * Ops that move numbers and compute nothing: fills, copies, casts, permutations, slices, rows by index.
 */
import { elementCount, type Shape, sameShape } from '../dtype.ts';
import {
  allSame,
  anyOf,
  anyType,
  at,
  axisOf,
  expect,
  f32,
  i32,
  inout,
  type OpRow,
  replaceAt,
} from './op-row.ts';

/** Whether a cache has rows of `width`, or of that up to whole blocks of 32. */
export const holdsRows = (cache: Shape, width: number): boolean =>
  at(cache, 1) === width || at(cache, 1) === 32 * Math.ceil(width / 32);

/** Storage types of caches that round. */
export const roundedTypes = ['bf16', 'q8_0'] as const;

/** Rows of the op table: memory. */
export const memoryOps = {
  fill: {
    doc: 'x = value',
    inputs: [inout(anyType('x'))],
    outputs: [],
    attributes: { value: 'float' },
    shapes: () => [],
  },
  copyInto: {
    doc: 'destination = source, element by element (same type and count; shapes may differ)',
    inputs: [anyType('source'), inout(anyType('destination'))],
    outputs: [],
    attributes: {},
    shapes: ([s, d]) => {
      expect(elementCount(s!) === elementCount(d!), 'equal element counts');
      return [];
    },
  },
  cast: {
    doc: 'y = x in another storage type (f32, bf16, f16, i32), rounded to nearest even',
    inputs: [anyType('x')],
    outputs: [anyType('y')],
    attributes: { to: ['f32', 'i32', 'bf16', 'f16'] },
    shapes: ([x]) => [x!],
  },
  permute: {
    doc: 'y[i_p0, i_p1, ...] = x[i_0, i_1, ...]: output axis j is input axis p_j; p beyond the rank is ignored',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { p0: 'int', p1: 'int', p2: 'int', p3: 'int' },
    shapes: ([x], a) => {
      const axes = [a.p0!, a.p1!, a.p2!, a.p3!].slice(0, x!.length);
      expect(
        new Set(axes).size === x!.length && axes.every((p) => p >= 0 && p < x!.length),
        'a permutation of the axes',
      );
      return [axes.map((p) => at(x!, p))];
    },
  },
  slice: {
    doc: 'y = x[..., start : start + size, ...] on `axis`',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { axis: 'int', start: 'int', size: 'int' },
    shapes: ([x], a) => {
      const n = at(x!, axisOf(x!, a.axis!));
      expect(a.start! >= 0 && a.size! >= 0 && a.start! + a.size! <= n, `start + size within ${n}`);
      return [replaceAt(x!, a.axis!, a.size!)];
    },
  },
  place: {
    doc: 'y = zeros of `size` on `axis`, with x from `start` (the transpose of slice)',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { axis: 'int', start: 'int', size: 'int' },
    shapes: ([x], a) => {
      const n = at(x!, axisOf(x!, a.axis!));
      expect(a.start! >= 0 && a.start! + n <= a.size!, `start + ${n} within size`);
      return [replaceAt(x!, a.axis!, a.size!)];
    },
  },
  concat: {
    doc: 'y = a then b along `axis`',
    inputs: [f32('a'), f32('b')],
    outputs: [f32('y')],
    attributes: { axis: 'int' },
    shapes: ([a, b], { axis }) => {
      axisOf(a!, axis!);
      expect(
        a!.length === b!.length && sameShape(replaceAt(a!, axis!, 0), replaceAt(b!, axis!, 0)),
        'equal sizes off the axis',
      );
      return [replaceAt(a!, axis!, at(a!, axis!) + at(b!, axis!))];
    },
  },
  repeat: {
    doc: 'y = x repeated `count` times along an axis of size 1',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { axis: 'int', count: 'int' },
    shapes: ([x], a) => {
      expect(at(x!, axisOf(x!, a.axis!)) === 1 && a.count! >= 0, 'an axis of size 1');
      return [replaceAt(x!, a.axis!, a.count!)];
    },
  },
  gatherRows: {
    doc: 'y[n] = table[ids[n]] in f32; zeros where ids[n] is out of range',
    inputs: [anyOf('table', ['f32', 'bf16', 'f16'], 2), i32('ids', 1)],
    outputs: [f32('y', 2)],
    attributes: {},
    shapes: ([t, ids]) => [[at(ids!, 0), at(t!, 1)]],
  },
  scatterAddRows: {
    doc: 'table[ids[n]] += x[n] for ascending n',
    inputs: [f32('x', 2), i32('ids', 1), inout(f32('table', 2))],
    outputs: [],
    attributes: {},
    shapes: ([x, ids, t]) => {
      expect(at(x!, 0) === at(ids!, 0) && at(x!, 1) === at(t!, 1), 'x [N, D], ids [N], table [V, D]');
      return [];
    },
  },
  scatterRows: {
    doc: 'table[ids[n]] = x[n]; with duplicate ids the last wins (caches in f32 are written this way)',
    inputs: [f32('x', 2), i32('ids', 1), inout(f32('table', 2))],
    outputs: [],
    attributes: {},
    shapes: ([x, ids, t]) => {
      expect(at(x!, 0) === at(ids!, 0) && at(x!, 1) === at(t!, 1), 'x [N, D], ids [N], table [S, D]');
      return [];
    },
  },
  storeRounded: {
    doc:
      'rows = x in the storage type of the table, rounded as cast (bf16) and quantize (q8_0) do, with zeros after it where the ' +
      'table has whole blocks of 32; table[ids[n]] = rows[n]; with duplicate ids the last wins, ids out of range write nothing ' +
      '(rounded caches are written this way)',
    inputs: [inout(anyOf('table', roundedTypes, 2)), f32('x', 2), i32('ids', 1)],
    outputs: [anyOf('rows', roundedTypes, 2)],
    attributes: {},
    shapes: ([t, x, ids]) => {
      expect(at(x!, 0) === at(ids!, 0), 'x [N, D] and ids [N]');
      expect(holdsRows(t!, at(x!, 1)), 'table [S, D], or [S, D up to whole blocks of 32]');
      return [[at(x!, 0), at(t!, 1)]];
    },
  },
  gatherLast: {
    doc: 'y[n, k] = x[n, indices[n, k]]; zero out of range',
    inputs: [f32('x', 2), i32('indices', 2)],
    outputs: [f32('y', 2)],
    attributes: {},
    shapes: ([x, indices]) => {
      expect(at(x!, 0) === at(indices!, 0), 'equal rows');
      return [indices!];
    },
  },
  scatterLast: {
    doc: 'y [N, size] = 0, then y[n, indices[n, k]] += x[n, k] for ascending k (the transpose of gatherLast)',
    inputs: [f32('x', 2), i32('indices', 2)],
    outputs: [f32('y', 2)],
    attributes: { size: 'int' },
    shapes: ([x, indices], a) => {
      allSame([x!, indices!], 'x and indices');
      return [[at(x!, 0), a.size!]];
    },
  },
} as const satisfies Readonly<Record<string, OpRow>>;
