/**
 * Conformance calls of elementwise maths, reductions and products: every kind, broadcast form and transpose;
 * saturating, infinite and equal values where the op table says what they give. NaN is only used where the
 * table defines it.
 */
import { opTable, type Shape } from '@minke/core';
import { bf16, type Draft, type Draw, f32, forward, type HostTensor } from './draw.ts';
import { largeShape, shapes } from './memory-drafts.ts';

type UnaryKind = (typeof unaryKinds)[number];
const unaryKinds = opTable.unary.attributes.kind;

/** Numbers inside the domain of a unary function, away from where its condition is unbounded. */
function domain(draw: Draw, kind: UnaryKind, shape: Shape): HostTensor {
  switch (kind) {
    case 'log':
    case 'sqrt':
    case 'rsqrt':
      return draw.uniform(shape, 0.01, 30);
    case 'reciprocal':
      return draw.uniform(shape, 0.05, 9);
    case 'exp':
    case 'sigmoid':
    case 'silu':
    case 'tanh':
    case 'softplus':
      return draw.uniform(shape, -20, 20);
    default:
      return draw.normal(shape, 3);
  }
}

/** Where each function saturates, overflows or has its corner. */
const edges: Record<UnaryKind, readonly number[]> = {
  neg: [0, Infinity, 3e38],
  exp: [-Infinity, -1000, 0, 80, 1000, Infinity],
  log: [0, 1, 1e-30, 1e30, Infinity],
  sqrt: [0, 1e-30, 1e30, Infinity],
  rsqrt: [1e-30, 1, 1e30, Infinity],
  square: [0, 1e18, 1e30, -1e30],
  abs: [0, -Infinity, -3e38],
  reciprocal: [1e-30, -1e30, Infinity],
  sigmoid: [-1000, -80, 0, 80, 1000, Infinity],
  silu: [-1000, -80, 0, 80, 1000, 1e30],
  relu: [-Infinity, -1e-30, 0, 1e-30, Infinity],
  tanh: [-1000, -1e-3, 0, 1e-3, 1000],
  softplus: [-1000, -30, 0, 30, 1000],
  affine: [0, 1e30, -1e30],
  clamp: [-Infinity, -0.5, 0, 1.5, 1e30, Infinity],
};

/** Where a derivative is finite and no infinity meets a zero. */
function slopeEdges(kind: UnaryKind): readonly number[] {
  if (kind === 'sqrt' || kind === 'log' || kind === 'rsqrt' || kind === 'reciprocal') return [0.001, 1, 1000];
  return edges[kind].filter((x) => Math.abs(x) < 1e20 && !(kind === 'exp' && x > 100));
}

/** Shapes of a, and b in each of the three broadcast forms. */
const broadcasts: readonly [Shape, Shape][] = [
  [[], []],
  [[], [1, 1]],
  [[7], [1]],
  [[7], [7]],
  [[7], []],
  [
    [3, 5],
    [3, 5],
  ],
  [[3, 5], [5]],
  [
    [3, 5],
    [3, 1],
  ],
  [
    [3, 5],
    [1, 1, 1],
  ],
  [
    [2, 3, 4],
    [3, 4],
  ],
  [
    [2, 3, 4],
    [2, 3, 1],
  ],
  [[2, 3, 4, 5], [5]],
  [
    [2, 3, 4, 5],
    [2, 3, 4, 1],
  ],
  [
    [4, 1],
    [4, 1],
  ],
  [[0, 3], [3]],
  [[3, 0], [0]],
  [
    [3, 0],
    [3, 1],
  ],
  [largeShape, largeShape],
  [largeShape, [517]],
  [largeShape, [67, 1]],
  [largeShape, [1]],
];

/** [batch or null, m, k, n] of products: vectors, odd sizes, nothing to sum, tiles and their remainders, a long sum. */
const products: readonly (readonly [number | null, number, number, number])[] = [
  [null, 1, 1, 1],
  [null, 3, 5, 7],
  [null, 1, 37, 65],
  [null, 65, 37, 1],
  [null, 4, 0, 3],
  [null, 0, 5, 3],
  [null, 3, 5, 0],
  [null, 16, 32, 48],
  [null, 65, 129, 67],
  [null, 130, 300, 193],
  [1, 2, 3, 4],
  [3, 5, 4, 3],
  [0, 2, 3, 4],
  [2, 0, 3, 4],
  [2, 3, 0, 4],
  [5, 17, 33, 31],
  [null, 2, 40_003, 3],
];

function productInputs(draw: Draw, scale = 1) {
  return products.flatMap(([batch, m, k, n]) =>
    [0, 1].flatMap((transA) =>
      [0, 1].map((transB) => {
        const batched = (rows: number, columns: number) =>
          batch === null ? [rows, columns] : [batch, rows, columns];
        return {
          label: `${batch ?? ''}[${m}, ${k}] [${k}, ${n}]${transA ? ' transA' : ''}${transB ? ' transB' : ''}`,
          a: draw.normal(transA ? batched(k, m) : batched(m, k), scale),
          b: draw.normal(transB ? batched(n, k) : batched(k, n)),
          c: draw.normal(batched(m, n)),
          attributes: { transA, transB },
        };
      }),
    ),
  );
}

/** [rows, inner, columns] of products with a packed weight: one row, tiles and their remainders, a long sum. */
const packedSizes = [
  [1, 1, 1],
  [1, 37, 65],
  [2, 5, 32],
  [3, 1001, 31],
  [4, 64, 129],
  [5, 63, 33],
  [7, 40, 300],
  [8, 33, 96],
  [9, 33, 97],
  [13, 601, 47],
  [64, 130, 160],
  [130, 300, 193],
  [3, 0, 5],
  [0, 3, 5],
  [3, 5, 0],
  [2, 100_000, 3],
] as const;

/** Weights of a linear layer, alone and of several experts. */
function weights(draw: Draw): HostTensor[] {
  const sizes: Shape[] = [
    [1, 1],
    [32, 7],
    [33, 2],
    [100, 65],
    [0, 3],
    [3, 0],
    [2, 40, 5],
    [0, 3, 3],
    [3, 64, 31],
  ];
  return [...sizes.map((shape) => draw.normal(shape)), draw.extreme([40, 9], 4)];
}

function packedProducts(draw: Draw, extreme: boolean) {
  return packedSizes.map(([m, k, n]) => {
    const draft = (shape: Shape) => (extreme ? draw.extreme(shape, 2 * k) : draw.normal(shape));
    return {
      label: `[${m}, ${k}] to ${n}${extreme ? ' with NaN, infinities, subnormals' : ''}`,
      x: draft([m, k]),
      w: draft([n, k]),
      attributes: { columns: n },
    };
  });
}

const rowShapes: readonly Shape[] = [
  ...shapes.filter((shape) => shape.length > 0),
  [3, 64],
  [2, 5003],
  [257, 129],
];

/** Rows on which a careless softmax fails: only -inf, some -inf, large, equal. */
function softmaxEdges(): HostTensor[] {
  const no = -Infinity;
  return [
    f32([2, 3], [no, no, no, 0, no, 1]),
    f32([2, 3], [1e4, 1e4 + 1, 0, -1e4, -1e4, -1e4]),
    f32([1, 3], [1e30, -1e30, 0]),
    f32([1, 5], [2, 2, 2, 2, 2]),
    f32([3, 1], [5, no, -5]),
  ];
}

export const mathsDrafts = {
  unary(draw: Draw): Draft<'unary'>[] {
    const [a, b] = [-0.5, 1.5];
    return unaryKinds.flatMap((kind) => [
      ...[...shapes, largeShape].map((shape) => ({
        label: kind,
        inputs: [domain(draw, kind, shape)],
        attributes: { kind, a, b },
      })),
      {
        label: `${kind} at its edges`,
        inputs: [f32([edges[kind].length], edges[kind])],
        attributes: { kind, a, b },
      },
    ]);
  },

  unaryGrad(draw: Draw): Draft<'unaryGrad'>[] {
    const [a, b] = [-0.5, 1.5];
    return unaryKinds.flatMap((kind) => [
      ...[...shapes, largeShape].map((shape) => ({
        label: kind,
        inputs: [domain(draw, kind, shape), draw.normal(shape)],
        attributes: { kind, a, b },
      })),
      {
        label: `${kind} at its edges`,
        inputs: [f32([slopeEdges(kind).length], slopeEdges(kind)), draw.normal([slopeEdges(kind).length])],
        attributes: { kind, a, b },
      },
    ]);
  },

  binary(draw: Draw): Draft<'binary'>[] {
    return opTable.binary.attributes.kind.flatMap((kind) => [
      ...broadcasts.map(([a, b]) => ({
        label: `${kind} [${a}] with [${b}]`,
        inputs: [draw.normal(a), kind === 'div' ? draw.uniform(b, 0.1, 5) : draw.normal(b)],
        attributes: { kind },
      })),
      {
        label: `${kind} of large and infinite numbers`,
        inputs: [f32([4], [1e30, -Infinity, 5, 1]), f32([4], [-1e30, 2, -1e-30, 1e37])],
        attributes: { kind },
      },
    ]);
  },

  accumulate(draw: Draw): Draft<'accumulate'>[] {
    return [...shapes, largeShape].flatMap((shape) =>
      [1, -0.5, 0.1, 0].map((scale) => ({
        label: `scale ${scale}`,
        inputs: [draw.normal(shape), draw.normal([...shape.slice(1), ...shape.slice(0, 1)])],
        attributes: { scale: Math.fround(scale) },
      })),
    );
  },

  reduce(draw: Draw): Draft<'reduce'>[] {
    const many: Shape[] = [...rowShapes, [10007], [10007, 3], [3, 1001, 5], [4, 0, 3]];
    return opTable.reduce.attributes.kind.flatMap((kind) => [
      ...many.flatMap((shape) =>
        shape.map((_, axis) => ({
          label: `${kind} over axis ${axis}`,
          inputs: [draw.normal(shape)],
          attributes: { kind, axis },
        })),
      ),
      {
        label: `${kind} of infinities`,
        inputs: [f32([2, 2], [-Infinity, -Infinity, 1, -Infinity])],
        attributes: { kind, axis: 1 },
      },
    ]);
  },

  sumSquares(draw: Draw): Draft<'sumSquares'>[] {
    const wide = draw.normal([3001]);
    for (let i = 0; i < 3001; i++) wide.data[i]! *= 10 ** ((i % 9) - 4);
    return [...[...shapes, largeShape, [300_007]].map((shape) => draw.normal(shape)), wide].flatMap((x) =>
      [0, 3].map((initial) => ({
        label: `onto ${initial}`,
        inputs: [x, f32([1], [initial])],
        attributes: {},
      })),
    );
  },

  softmax(draw: Draw): Draft<'softmax'>[] {
    return opTable.softmax.attributes.kind.flatMap((kind) => [
      ...rowShapes.map((shape) => ({ label: kind, inputs: [draw.normal(shape, 5)], attributes: { kind } })),
      ...softmaxEdges().map((x) => ({ label: `${kind} of edge rows`, inputs: [x], attributes: { kind } })),
    ]);
  },

  softmaxGrad(draw: Draw): Draft<'softmaxGrad'>[] {
    return opTable.softmaxGrad.attributes.kind.flatMap((kind) =>
      [...rowShapes.map((shape) => draw.normal(shape, 3)), softmaxEdges()[0]!].map((x) => ({
        label: kind,
        inputs: [forward('softmax', [x], { kind })[0]!, draw.normal(x.shape)],
        attributes: { kind },
      })),
    );
  },

  topK(draw: Draw): Draft<'topK'>[] {
    const rows = [draw.normal([3, 7]), draw.normal([1, 1]), draw.normal([5, 1003]), draw.normal([0, 4])];
    const marked = draw.sprinkle(draw.coarse([4, 9]), [NaN, -Infinity, Infinity], 3);
    return [
      ...rows.map((x) => ({ label: 'distinct', x })),
      { label: 'ties', x: draw.coarse([6, 33], 2) },
      { label: 'all equal', x: draw.among([2, 11], [0.5]) },
      { label: 'NaN and infinities', x: marked },
      { label: 'only NaN and -inf', x: f32([2, 3], [NaN, -Infinity, NaN, -Infinity, NaN, NaN]) },
    ].flatMap(({ label, x }) =>
      [...new Set([1, Math.min(3, x.shape[1]!), x.shape[1]!])].map((k) => ({
        label: `${label}, k ${k}`,
        inputs: [x],
        attributes: { k },
      })),
    );
  },

  matmulBf16(draw: Draw): Draft<'matmulBf16'>[] {
    const extreme = [0, 1].flatMap((transA) =>
      [0, 1].map((transB) => ({
        label: `NaN, infinities, subnormals${transA ? ' transA' : ''}${transB ? ' transB' : ''}`,
        a: draw.extreme(transA ? [31, 15] : [15, 31]),
        b: draw.extreme(transB ? [37, 31] : [31, 37]),
        attributes: { transA, transB },
      })),
    );
    const long = {
      label: 'a long sum',
      a: draw.normal([2, 100_001]),
      b: draw.normal([100_001, 3]),
      attributes: { transA: 0, transB: 0 },
    };
    return [...productInputs(draw), ...extreme, long].map(({ label, a, b, attributes }) => ({
      label,
      inputs: [a, bf16(b)],
      attributes,
    }));
  },

  packWeight(draw: Draw): Draft<'packWeight'>[] {
    return weights(draw).map((w) => ({ label: '', inputs: [w], attributes: {} }));
  },

  packWeightBf16(draw: Draw): Draft<'packWeightBf16'>[] {
    return weights(draw).map((w) => ({ label: '', inputs: [bf16(w)], attributes: {} }));
  },

  matmulPacked(draw: Draw): Draft<'matmulPacked'>[] {
    return [...packedProducts(draw, false), ...packedProducts(draw, true)].map(
      ({ label, x, w, attributes }) => ({
        label,
        inputs: [x, forward('packWeight', [w], {})[0]!],
        attributes,
      }),
    );
  },

  matmulPackedBf16(draw: Draw): Draft<'matmulPackedBf16'>[] {
    return [...packedProducts(draw, false), ...packedProducts(draw, true)].map(
      ({ label, x, w, attributes }) => ({
        label,
        inputs: [x, forward('packWeightBf16', [bf16(w)], {})[0]!],
        attributes,
      }),
    );
  },

  matmul(draw: Draw): Draft<'matmul'>[] {
    return [...productInputs(draw), ...productInputs(draw, 1e15).slice(0, 8)].map(
      ({ label, a, b, attributes }) => ({ label, inputs: [a, b], attributes }),
    );
  },

  matmulInto(draw: Draw): Draft<'matmulInto'>[] {
    return productInputs(draw).map(({ label, a, b, c, attributes }) => ({
      label,
      inputs: [a, b, c],
      attributes,
    }));
  },
};
