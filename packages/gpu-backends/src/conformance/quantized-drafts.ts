/**
 * Conformance calls of the ops on quantised weights. Random blocks have every byte there is, and scales of both signs,
 * zero and subnormal; those that `quantize` makes are in use as weights too.
 */
import type { Shape } from '@minke/core';
import { type Draft, type Draw, f32, forward, type HostTensor, i32, outside } from './draw.ts';
import { feedForwards, plans } from './expert-drafts.ts';

const types = ['q8_0', 'q4_0'] as const;
type Blocks = (typeof types)[number];

/** f16 bits of scales as they occur, and a few odd ones: zero, subnormal, negative. */
const scaleBits = [0x2000, 0x2abc, 0x1999, 0xa123, 0, 0x0003, 0x8001, 0x3c00];

/** Blocks of random bytes with such scales. */
function blocks(draw: Draw, dtype: Blocks, shape: Shape): HostTensor {
  const tensor = draw.bytes(dtype, shape);
  const bytes = dtype === 'q8_0' ? 34 : 18;
  const data = tensor.data as Uint8Array;
  for (let at = 0; at < data.length; at += bytes) {
    const bits = draw.random.pick(scaleBits);
    data.set([bits & 0xff, bits >> 8], at);
  }
  return { ...tensor, data };
}

const packed = (w: HostTensor): HostTensor => forward('packQuantized', [w], {})[0]!;
const rounded = (w: HostTensor, to: Blocks): HostTensor => packed(forward('quantize', [w], { to })[0]!);

/** Rows of bytes, every value there is, with their scales. */
function rowsOf(draw: Draw, rows: number, width: number): [HostTensor, HostTensor] {
  return [draw.bytes('i8', [rows, width]), draw.uniform([rows, width / 32], 0.001, 0.1)];
}

const weightShapes: readonly Shape[] = [
  [1, 32],
  [33, 64],
  [70, 96],
  [0, 32],
  [5, 0],
  [3, 33, 64],
  [2, 32, 32],
  [0, 4, 32],
];

/** [M, columns, K]: rows of one strip, of several unlike ones, tiles whole and in part. */
const productSizes = [
  [1, 1, 32],
  [1, 33, 64],
  [2, 40, 96],
  [3, 32, 32],
  [4, 65, 64],
  [5, 7, 32],
  [6, 31, 160],
  [7, 96, 32],
  [8, 64, 64],
  [9, 37, 96],
  [23, 50, 64],
  [0, 40, 64],
  [3, 0, 32],
  [4, 5, 0],
] as const;

/** [rows, width, ids] of a table. */
const tableSizes = [
  [1, 32, 6],
  [33, 64, 20],
  [70, 96, 40],
  [300, 1024, 120],
  [0, 32, 6],
  [5, 0, 6],
  [5, 32, 0],
] as const;

/** Heads of the absorbed form: one row, several strips of rows, parts that are missing. */
const absorbedSizes = [
  { n: 1, h: 3, nope: 7, rotary: 4, value: 5, rank: 64 },
  { n: 5, h: 2, nope: 33, rotary: 0, value: 9, rank: 32 },
  { n: 19, h: 1, nope: 16, rotary: 3, value: 1, rank: 96 },
  { n: 2, h: 4, nope: 0, rotary: 2, value: 3, rank: 32 },
  { n: 3, h: 2, nope: 5, rotary: 2, value: 0, rank: 32 },
  { n: 0, h: 2, nope: 5, rotary: 2, value: 4, rank: 32 },
  { n: 2, h: 2, nope: 5, rotary: 2, value: 4, rank: 0 },
] as const;

/** Numbers with extremes of what a group may hold. */
function activations(draw: Draw): { label: string; x: HostTensor }[] {
  const wide = draw.normal([9, 96]);
  const edge = [0, -0, 127, -127, 63.5, 0.5, 1.5, -2.5];
  return [
    { label: 'normal', x: wide },
    { label: 'of unlike size', x: draw.sprinkle(wide, [100, -3000, 1e-6], 16) },
    { label: 'ties', x: draw.among([6, 64], edge) },
    { label: 'zeros', x: draw.among([2, 32], [0, -0]) },
    { label: 'the largest', x: draw.sprinkle(draw.normal([3, 32], 1e38), [3e38]) },
    { label: 'subnormal', x: draw.among([4, 32], [1e-45, -3e-44, 2.7e-43, 1e-40, 0]) },
    { label: 'none', x: f32([0, 32], []) },
    { label: 'no width', x: f32([3, 0], []) },
  ];
}

export const quantizedDrafts = {
  quantize(draw: Draw): Draft<'quantize'>[] {
    const rows = [...activations(draw), { label: 'small', x: draw.normal([40, 64], 1e-7) }];
    return types.flatMap((to) => [
      ...rows.map(({ label, x }) => ({ label: `${label} ${to}`, inputs: [x], attributes: { to } })),
      ...([[32], [2, 3, 64], [1, 2, 3, 32], [400, 32]] as const).map((shape) => ({
        label: to,
        inputs: [draw.normal(shape, 0.02)],
        attributes: { to },
      })),
    ]);
  },

  packQuantized(draw: Draw): Draft<'packQuantized'>[] {
    return types.flatMap((dtype) =>
      weightShapes.map((shape) => ({
        label: dtype,
        inputs: [blocks(draw, dtype, shape)],
        attributes: {},
      })),
    );
  },

  quantizeRows(draw: Draw): Draft<'quantizeRows'>[] {
    return activations(draw).map(({ label, x }) => ({ label, inputs: [x], attributes: {} }));
  },

  matmulQuantized(draw: Draw): Draft<'matmulQuantized'>[] {
    return types.flatMap((dtype) =>
      productSizes.flatMap(([m, columns, k]) => [
        {
          label: `${dtype} of random bytes`,
          inputs: [...rowsOf(draw, m, k), packed(blocks(draw, dtype, [columns, k]))],
          attributes: { columns },
        },
        {
          label: dtype,
          inputs: [
            ...forward('quantizeRows', [draw.normal([m, k])], {}),
            rounded(draw.normal([columns, k], 0.1), dtype),
          ],
          attributes: { columns },
        },
      ]),
    );
  },

  groupedMatmulQuantized(draw: Draw): Draft<'groupedMatmulQuantized'>[] {
    const untrusted = { rows: 6, experts: 3, offsets: i32([4], [-3, 2, 2, 0x7fffffff]) };
    return types.flatMap((dtype) =>
      [...plans(draw), untrusted].flatMap(({ rows, experts, offsets }) =>
        (
          [
            [32, 3],
            [64, 40],
            [0, 3],
            [32, 0],
          ] as const
        ).map(([k, n]) => ({
          label: `${dtype} ${rows} rows to ${experts} experts [${k}, ${n}]`,
          inputs: [...rowsOf(draw, rows, k), packed(blocks(draw, dtype, [experts, n, k])), offsets],
          attributes: { columns: n },
        })),
      ),
    );
  },

  gatherRowsQuantized(draw: Draw): Draft<'gatherRowsQuantized'>[] {
    return types.flatMap((dtype) =>
      tableSizes.map(([rows, width, count]) => ({
        label: `${dtype} of ${rows} rows`,
        inputs: [
          packed(blocks(draw, dtype, [rows, width])),
          i32(
            [count],
            Array.from({ length: count }, (_, i) => [rows, i * 7, 2 * i, outside[(i >> 2) % 4]!][i % 4]!),
          ),
        ],
        attributes: { columns: rows },
      })),
    );
  },

  absorbQueryQuantized(draw: Draw): Draft<'absorbQueryQuantized'>[] {
    return absorbedSizes.map(({ n, h, nope, rotary, value, rank }) => ({
      label: `nope ${nope}`,
      inputs: [draw.normal([n, h, nope + rotary]), blocks(draw, 'q8_0', [h, nope + value, rank])],
      attributes: { nope },
    }));
  },

  absorbOutputQuantized(draw: Draw): Draft<'absorbOutputQuantized'>[] {
    return absorbedSizes.map(({ n, h, nope, value, rank }) => ({
      label: `from ${nope}`,
      inputs: [draw.normal([n, h, rank]), blocks(draw, 'q8_0', [h, nope + value, rank])],
      attributes: { start: nope },
    }));
  },

  moeFeedForwardQuantized(draw: Draw): Draft<'moeFeedForwardQuantized'>[] {
    const widths = [
      { d: 32, f: 32, s: 0 },
      { d: 64, f: 32, s: 96 },
    ];
    return feedForwards(draw, widths).map(({ label, x, weights, matrices, plan }, i) => ({
      label,
      inputs: [
        x,
        weights,
        // Both types in one call, in turn.
        ...matrices.map((w, j) => rounded(w, types[(i + j) % 2]!)),
        ...plan,
      ],
      attributes: {},
    }));
  },
};
