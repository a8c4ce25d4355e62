/**
 * Ops on each element alone, with the broadcast rule of `binary`.
 */
import { elementCount, formatShape, type Shape } from '../dtype.ts';
import { allSame, expect, f32, inout, last, type OpRow } from './op-row.ts';

/** How many consecutive elements of `a` share one element of `b`, for the broadcast rule of `binary`. */
export function broadcastDivisor(a: Shape, b: Shape): number {
  if (elementCount(b) === 1) return 1;
  const suffix = b.length <= a.length && b.every((size, i) => size === a[a.length - b.length + i]);
  if (suffix) return 1;
  const column = a.length === b.length && last(b) === 1 && b.slice(0, -1).every((size, i) => size === a[i]);
  if (column) return last(a);
  throw `b ${formatShape(b)} to be one element, a suffix of a ${formatShape(a)}, or a with last axis 1`;
}

const unaryKinds = [
  'neg',
  'exp',
  'log',
  'sqrt',
  'rsqrt',
  'square',
  'abs',
  'reciprocal',
  'sigmoid',
  'silu',
  'relu',
  'tanh',
  'softplus',
  'affine',
  'clamp',
] as const;

/** Rows of the op table: elementwise. */
export const elementwiseOps = {
  unary: {
    doc: 'y = f(x); affine is a x + b, clamp is min(max(x, a), b); a and b are ignored by the others',
    inputs: [f32('x')],
    outputs: [f32('y')],
    attributes: { kind: unaryKinds, a: 'float', b: 'float' },
    shapes: ([x]) => [x!],
  },
  unaryGrad: {
    doc: "dx = dy f'(x); clamp passes the gradient where a <= x <= b, relu where x > 0, and both give 0 elsewhere",
    inputs: [f32('x'), f32('dy')],
    outputs: [f32('dx')],
    attributes: { kind: unaryKinds, a: 'float', b: 'float' },
    shapes: ([x, dy]) => {
      allSame([x!, dy!], 'x and dy');
      return [x!];
    },
  },
  binary: {
    doc: "y = a op b; b has one element, or is a suffix of a's shape, or is a's shape with last axis 1",
    inputs: [f32('a'), f32('b')],
    outputs: [f32('y')],
    attributes: { kind: ['add', 'sub', 'mul', 'div', 'max', 'min'] },
    shapes: ([a, b]) => {
      broadcastDivisor(a!, b!);
      return [a!];
    },
  },
  accumulate: {
    doc: 'sum += scale x',
    inputs: [f32('x'), inout(f32('sum'))],
    outputs: [],
    attributes: { scale: 'float' },
    shapes: ([x, sum]) => {
      expect(elementCount(x!) === elementCount(sum!), 'equal element counts');
      return [];
    },
  },
} as const satisfies Readonly<Record<string, OpRow>>;
