/**
 * Ops that reduce an axis or normalise along the last one.
 */
import { allSame, at, axisOf, expect, f32, i32, inout, type OpRow } from './op-row.ts';

/** Rows of the op table: reductions. */
export const reductionOps = {
  reduce: {
    doc: 'y = sum, mean or max of x over `axis`, which is removed; of nothing: 0, 0, -inf; of NaN: NaN',
    inputs: [f32('x', [1, 4])],
    outputs: [f32('y')],
    attributes: { kind: ['sum', 'mean', 'max'], axis: 'int' },
    shapes: ([x], a) => {
      axisOf(x!, a.axis!);
      return [x!.filter((_, i) => i !== a.axis)];
    },
  },
  sumSquares: {
    doc: 'sum[0] += x . x, in f64 or compensated f32, over fixed blocks',
    inputs: [f32('x'), inout(f32('sum', 1))],
    outputs: [],
    attributes: {},
    shapes: ([, sum]) => {
      expect(at(sum!, 0) === 1, 'sum [1]');
      return [];
    },
  },
  softmax: {
    doc: 'over the last axis: exp(x - max) / sum, or its logarithm; a row of only -inf gives zeros (log: -inf)',
    inputs: [f32('x', [1, 4])],
    outputs: [f32('y')],
    attributes: { kind: ['softmax', 'log'] },
    shapes: ([x]) => [x!],
  },
  softmaxGrad: {
    doc: 'from y and dy: softmax y (dy - sum(dy y)); log dy - exp(y) sum(dy)',
    inputs: [f32('y', [1, 4]), f32('dy', [1, 4])],
    outputs: [f32('dx')],
    attributes: { kind: ['softmax', 'log'] },
    shapes: ([y, dy]) => {
      allSame([y!, dy!], 'y and dy');
      return [y!];
    },
  },
  topK: {
    doc: 'the k largest of each row, descending; ties to the lowest index; NaN counts as -inf',
    inputs: [f32('x', 2)],
    outputs: [f32('values', 2), i32('indices', 2)],
    attributes: { k: 'int' },
    shapes: ([x], { k }) => {
      expect(k! >= 1 && k! <= at(x!, 1), `k from 1 to ${at(x!, 1)}`);
      return [
        [at(x!, 0), k!],
        [at(x!, 0), k!],
      ];
    },
  },
} as const satisfies Readonly<Record<string, OpRow>>;
