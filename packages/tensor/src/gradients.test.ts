import type { Backend, OpName } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { describe, expect, test } from 'vitest';
import {
  abs,
  add,
  affine,
  call,
  clamp,
  concat,
  crossEntropy,
  customOp,
  div,
  exp,
  type GradcheckInput,
  gatherLast,
  gatherRows,
  gradBuffer,
  gradcheck,
  linear,
  log,
  logSoftmax,
  lowRankLinear,
  lowRankSum,
  matmul,
  maximum,
  mean,
  minimum,
  mul,
  neg,
  permute,
  reciprocal,
  relu,
  repeat,
  rmsNorm,
  rsqrt,
  sigmoid,
  silu,
  slice,
  softmax,
  softplus,
  sqrt,
  square,
  sub,
  sum,
  swiglu,
  type Tensor,
  tanh,
  topK,
} from './index.ts';

type Case = [name: string, f: (...xs: Tensor[]) => Tensor, inputs: (GradcheckInput | number[])[]];

/** Magnitudes from 0.5 to 2, away from zeros, kinks and poles; signs alternate unless `positive`. */
function apart(shape: number[], positive = false): GradcheckInput {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from(
    { length: size },
    (_, i) => (0.5 + ((i * 7) % 11) * 0.15) * (positive || i % 2 === 0 ? 1 : -1),
  );
  return { shape, data };
}

const elementwise: Case[] = [
  ['neg', neg, [[2, 3]]],
  ['exp', exp, [[2, 3]]],
  ['log', log, [apart([2, 3], true)]],
  ['sqrt', sqrt, [apart([2, 3], true)]],
  ['rsqrt', rsqrt, [apart([2, 3], true)]],
  ['square', square, [[2, 3]]],
  ['abs', abs, [apart([2, 3])]],
  ['reciprocal', reciprocal, [apart([2, 3])]],
  ['sigmoid', sigmoid, [[2, 3]]],
  ['silu', silu, [[2, 3]]],
  ['relu', relu, [apart([2, 3])]],
  ['tanh', tanh, [[2, 3]]],
  ['softplus', softplus, [[2, 3]]],
  ['affine', (x) => affine(x, -1.5, 0.3), [[2, 3]]],
  ['clamp', (x) => clamp(x, -0.87, 0.87), [apart([3, 3])]],
  ['a scalar', exp, [[]]],
  [
    'numbers on the right',
    (x) => maximum(minimum(div(mul(sub(add(x, 2), 1), 3), 4), 1.3), -0.4),
    [apart([2, 5])],
  ],
];

const broadcasts: [string, number[]][] = [
  ['of one shape', [2, 3, 4]],
  ['with b of one element', [1]],
  ['with b a scalar', []],
  ['with b a suffix', [3, 4]],
  ['with b the last axis', [4]],
  ['with b a column', [2, 3, 1]],
];
const operators: [string, (a: Tensor, b: Tensor) => Tensor][] = [
  ['add', add],
  ['sub', sub],
  ['mul', mul],
  ['div', div],
  ['maximum', maximum],
  ['minimum', minimum],
];
const binary: Case[] = operators.flatMap(([name, f]) =>
  broadcasts.map(([how, shape]): Case => [`${name} ${how}`, f as Case[1], [[2, 3, 4], apart(shape)]]),
);

const constants: Case[] = operators.map(([name, f]): Case => {
  const divisors = Array.from({ length: 4 }, (_, i) => 0.6 + 0.35 * i);
  return [`${name} by a constant tensor`, (x) => f(x, x.arena.tensor(divisors, [4])), [[2, 3, 4]]];
});

const products: Case[] = [false, true].flatMap((transA) =>
  [false, true].flatMap((transB): Case[] => {
    const a = transA ? [4, 2] : [2, 4];
    const b = transB ? [3, 4] : [4, 3];
    const f = (x: Tensor, y: Tensor) => matmul(x, y, { transA, transB });
    const name = `matmul transA ${transA} transB ${transB}`;
    return [
      [name, f as Case[1], [a, b]],
      [
        `${name}, batched`,
        f as Case[1],
        [
          [2, ...a],
          [2, ...b],
        ],
      ],
    ];
  }),
);

const ids = (x: Tensor, data: number[], shape: number[] = [data.length]) =>
  x.arena.tensor(data, shape, 'i32');

const others: Case[] = [
  [
    'linear',
    (x, w) => linear(x, w),
    [
      [3, 4],
      [2, 4],
    ],
  ],
  ['linear with bias on rank 3', (x, w, b) => linear(x, w, b), [[2, 3, 4], [5, 4], [5]]],
  [
    'linear with a low-rank addition, bias and rank 3',
    (x, w, a, b, bias) => lowRankLinear(x, w, { a, b, scale: 1.5 }, bias),
    [[2, 3, 4], [5, 4], [2, 4], [5, 2], [5]],
  ],
  [
    'a sum of weight and low-rank addition',
    (w, a, b) => lowRankSum(w.arena, w, { a, b, scale: 0.5 }),
    [
      [2, 5, 4],
      [2, 3, 4],
      [2, 5, 3],
    ],
  ],
  ['linear on rank 1', (x, w) => linear(x, w), [[4], [5, 4]]],
  ['permute of rank 2', (x) => permute(x, [1, 0]), [[2, 3]]],
  ['permute of rank 4', (x) => permute(x, [2, 0, 3, 1]), [[2, 3, 2, 2]]],
  ['slice', (x) => slice(x, 1, 1, 2), [[2, 4, 2]]],
  ['slice of the last axis from the back', (x) => slice(x, -1, 2, 1), [[2, 4]]],
  [
    'concat of rows',
    (a, b, c) => concat([a, b, c], 0),
    [
      [1, 3],
      [2, 3],
      [3, 3],
    ],
  ],
  [
    'concat of columns',
    (a, b, c) => concat([a, b, c], 1),
    [
      [2, 1],
      [2, 3],
      [2, 2],
    ],
  ],
  ['concat of one tensor with itself', (a) => concat([a, a], -1), [[2, 3]]],
  ['concat of one', (a) => mul(concat([a], 1), a), [[2, 3]]],
  ['repeat', (x) => repeat(x, 1, 3), [[2, 1, 2]]],
  ['gatherRows with a repeated and a missing id', (t) => gatherRows(t, ids(t, [2, 0, 2, 9, -1])), [[4, 3]]],
  ['gatherLast', (x) => gatherLast(x, ids(x, [1, 1, 3, 0, 7, 2], [2, 3])), [[2, 4]]],
  ['sum of everything', (x) => sum(x), [[2, 3]]],
  ['sum over an axis', (x) => sum(x, 1), [[2, 3, 2]]],
  ['mean of everything', (x) => mean(x), [[2, 3]]],
  ['mean over the last axis', (x) => mean(x, -1), [[2, 3]]],
  ['topK', (x) => topK(x, 2).values, [{ shape: [2, 4], data: [1, 4, 2, 3, -1, -5, 0, -2] }]],
  ['reshape', (x) => square(x.reshape([3, -1])), [[2, 6]]],
  ['rows', (x) => mul(x.rows(1, 3), x.rows(0, 2)), [[4, 2]]],
  ['rows of rows', (x) => square(x.rows(1, 4).rows(1, 2).reshape([3])), [[4, 3]]],
  ['a tensor used many times', (x) => mul(add(x, mul(x, x)), sub(exp(x), x)), [[2, 2]]],
  [
    'a result used by many',
    (x) => {
      const y = tanh(x);
      return add(add(y, y), mul(y, y));
    },
    [[3]],
  ],
  ['matmul of a matrix with itself', (x) => matmul(x, x), [[3, 3]]],
  [
    'a weight tied to the embedding',
    (w) => matmul(gatherRows(w, ids(w, [1, 3])), w, { transB: true }),
    [[4, 3]],
  ],
  [
    'linear by a view of a stacked weight',
    (x, w) => linear(x, w.rows(2, 5)),
    [
      [2, 3],
      [6, 3],
    ],
  ],
  [
    'customOp that returns gradients',
    (x, y) =>
      customOp({
        inputs: [x, y],
        forward: () => [exp(mul(x, y)), sub(x, y)],
        backward: ([de, ds], [e]) => {
          const d = mul(de!, e!);
          return [add(mul(d, y), ds!), sub(mul(d, x), ds!)];
        },
      }).reduce((a, b) => add(a, b)),
    [
      [2, 2],
      [2, 2],
    ],
  ],
  [
    'customOp that returns its incoming gradient twice',
    (x, y) => customOp({ inputs: [x, y], forward: () => [add(x, y)], backward: ([d]) => [d!, d!] })[0]!,
    [[3], [3]],
  ],
  [
    'customOp that returns a captured tensor and an unused output',
    (x) =>
      customOp({
        inputs: [x],
        forward: () => [sum(x), square(x)],
        backward: ([d, unused]) => {
          expect(unused).toBeNull();
          return [mul(x.arena.full(x.shape, 1), d!)];
        },
      })[0]!,
    [[3]],
  ],
  [
    'customOp that accumulates into a leaf',
    (x, w) =>
      customOp({
        inputs: [x, w],
        forward: () => call('matmul', [x, w], { transA: 0, transB: 0 }),
        backward: ([d]) => {
          const dx = matmul(d!, w, { transB: true });
          if (w.leaf === null) return [dx, matmul(x, d!, { transA: true })];
          call('matmulInto', [x, d!, gradBuffer(w)], { transA: 1, transB: 0 });
          return [dx, null];
        },
      })[0]!,
    [
      [2, 3],
      [3, 2],
    ],
  ],
];

const fused: Case[] = [
  ['softmax', softmax, [[2, 4]]],
  ['softmax of rank 3', softmax, [[2, 2, 3]]],
  ['softmax of rank 1', softmax, [[5]]],
  ['logSoftmax', logSoftmax, [[2, 4]]],
  ['rmsNorm', (x, w) => rmsNorm(x, w, 1e-2), [[3, 4], [4]]],
  ['rmsNorm of rank 3', (x, w) => rmsNorm(x, w, 1e-2), [[2, 2, 4], [4]]],
  ['rmsNorm of rank 1', (x, w) => rmsNorm(x, w, 1e-2), [[4], [4]]],
  [
    'swiglu',
    swiglu,
    [
      [2, 3],
      [2, 3],
    ],
  ],
  ['crossEntropy with an ignored target', (x) => crossEntropy(x, ids(x, [2, -1, 0])), [[3, 4]]],
];

async function verify([, f, inputs]: Case, backend?: Backend): Promise<void> {
  const given = inputs.map((input) => (Array.isArray(input) ? { shape: input } : input));
  const report = await gradcheck(f, given, backend ? { backend } : {});
  expect(report.checked).toBeGreaterThan(0);
  expect(report.worst, JSON.stringify(report)).toBeLessThan(1e-6);
}

const fusedOps: readonly OpName[] = [
  'softmax',
  'softmaxGrad',
  'rmsNorm',
  'rmsNormGrad',
  'swiglu',
  'swigluGrad',
  'crossEntropy',
  'crossEntropyGrad',
];

describe('gradients agree with central differences', () => {
  test.each([...elementwise, ...binary, ...constants, ...products, ...others, ...fused])('%s', async (...c) =>
    verify(c as Case),
  );
});

describe('gradients of composed forms agree with central differences', () => {
  test.each(fused)('%s', async (...c) => {
    const reference = createReference({ bits: 64 });
    const used = new Set<OpName>();
    const backend: Backend = {
      ...reference,
      supports: (op) => !fusedOps.includes(op),
      submit(list) {
        for (const { op } of list.records) used.add(op);
        reference.submit(list);
      },
    };
    await verify(c as Case, backend);
    expect(fusedOps.filter((op) => used.has(op))).toEqual([]);
  });
});

test('gradcheck reports a wrong gradient and where it is', async () => {
  const report = await gradcheck(
    (x, y) =>
      customOp({
        inputs: [x, y],
        forward: () => [mul(x, y)],
        backward: ([d]) => [mul(d!, y), mul(d!, y)],
      })[0]!,
    [{ shape: [2] }, { shape: [2] }],
  );
  expect(report.ok).toBe(false);
  expect(report.at?.input).toBe(1);
  expect(report.worst).toBeGreaterThan(0.01);
});
