/** Conformance calls of the data-movement ops: every storage type, axis and permutation; odd and empty sizes. */
import { type DType, dtypes, opTable, type Shape } from '@minke/core';
import { bf16, type Draft, type Draw, f32, forward, i32, outside, reshape, rounded } from './draw.ts';

/** Shapes of every rank, with odd, single and empty sizes, and one large enough to be split over threads. */
export const shapes: readonly Shape[] = [
  [],
  [1],
  [0],
  [7],
  [3, 5],
  [4, 0],
  [1, 1],
  [2, 3, 4],
  [2, 0, 3],
  [2, 3, 4, 5],
  [1, 17, 1, 3],
];

export const largeShape: Shape = [67, 517];

function permutations(items: readonly number[]): number[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item) =>
    permutations(items.filter((other) => other !== item)).map((p) => [item, ...p]),
  );
}

/** Ids of rows of a table: ordinary, repeated, and outside. */
function idCases(draw: Draw, rows: number, count: number) {
  return [
    { label: 'in range', ids: draw.integers([count], 0, Math.max(rows, 1)) },
    { label: 'repeated and outside', ids: draw.indices([count], Math.min(rows, 3)) },
    {
      label: 'all outside',
      ids: i32(
        [count],
        Array.from({ length: count }, (_, i) => outside[i % 4]!),
      ),
    },
  ];
}

const tableSizes = [
  { rows: 9, width: 5, count: 13 },
  { rows: 1, width: 1, count: 1 },
  { rows: 0, width: 3, count: 4 },
  { rows: 6, width: 0, count: 4 },
  { rows: 6, width: 3, count: 0 },
  { rows: 300, width: 129, count: 511 },
];

export const memoryDrafts = {
  fill(draw: Draw): Draft<'fill'>[] {
    const numbers = [0, 1, -3, 100];
    const floats = (dtype: DType) => [...shapes, largeShape].map((shape) => draw.bytes(dtype, shape));
    return [
      ...[...shapes, largeShape].flatMap((shape) =>
        [...numbers, 0.1, -Infinity].map((value) => ({
          label: `f32 ${value}`,
          inputs: [draw.normal(shape)],
          attributes: { value: Math.fround(value) },
        })),
      ),
      ...numbers.map((value) => ({
        label: `i32 ${value}`,
        inputs: [draw.integers([3, 7], -9, 9)],
        attributes: { value },
      })),
      ...(['bf16', 'f16'] as const).flatMap((dtype) =>
        floats(dtype).flatMap((x) =>
          [0, -1.5, 0.1].map((value) => ({
            label: `${dtype} ${value}`,
            inputs: [x],
            attributes: { value: Math.fround(value) },
          })),
        ),
      ),
      ...(['i8', 'u8', 'e4m3', 'q8_0', 'q4_0'] as const).map((dtype) => ({
        label: `${dtype} 0`,
        inputs: [draw.bytes(dtype, [64])],
        attributes: { value: 0 },
      })),
    ];
  },

  copyInto(draw: Draw): Draft<'copyInto'>[] {
    const types = Object.keys(dtypes) as DType[];
    const reshaped: [Shape, Shape][] = [
      [[6, 10], [60]],
      [[], [1, 1]],
      [
        [0, 3],
        [2, 0],
      ],
    ];
    return [
      ...[...shapes, largeShape].map((shape) => ({
        label: 'f32',
        inputs: [draw.normal(shape), draw.normal(shape)],
        attributes: {},
      })),
      ...reshaped.map(([from, to]) => ({
        label: 'another shape',
        inputs: [draw.normal(from), draw.normal(to)],
        attributes: {},
      })),
      ...types.map((dtype) => {
        const tensor = () => (dtype === 'i32' ? draw.integers([96], -1e9, 1e9) : draw.bytes(dtype, [96]));
        return {
          label: dtype,
          inputs: dtype === 'f32' ? [draw.normal([96]), draw.normal([96])] : [tensor(), tensor()],
          attributes: {},
        };
      }),
    ];
  },

  cast(draw: Draw): Draft<'cast'>[] {
    const targets = opTable.cast.attributes.to;
    const integral = [0, 1, -1, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 8388609, -3e9, 3e9];
    const narrow = [
      ...[0, 1, -1, 1.00390625, 1.01171875, 65504, 65519, 65520, -1e6, 2 ** -14, 2 ** -24, 2 ** -25],
      ...[3 * 2 ** -25, 1.0009765625, 1.00048828125, 1.00146484375, Infinity, -Infinity],
    ];
    const sources = [
      draw.normal([3, 11], 50),
      draw.normal([]),
      draw.normal([0, 2]),
      draw.normal(largeShape, 1000),
      f32([integral.length], integral),
    ];
    const wholes = [
      draw.integers([5, 7], -1000, 1000),
      i32([6], [0, -1, 16777217, 16777219, 0x7fffffff, -0x80000000]),
      draw.integers([0], 0, 1),
    ];
    // Every finite bf16 and f16 pattern once; the exponent of only ones is infinity and NaN.
    const patterns = (dtype: 'bf16' | 'f16') => {
      const mask = dtype === 'bf16' ? 0x7f80 : 0x7c00;
      const finite = Array.from({ length: 65536 }, (_, i) => i).filter((bits) => (bits & mask) !== mask);
      return { dtype, shape: [finite.length], data: new Uint8Array(Uint16Array.from(finite).buffer) };
    };
    return [
      ...targets.flatMap((to) =>
        [...sources, ...wholes].map((x) => ({
          label: `${x.dtype} to ${to}`,
          inputs: [x],
          attributes: { to },
        })),
      ),
      ...(['f32', 'bf16', 'f16'] as const).map((to) => ({
        label: `edges of f32 to ${to}`,
        inputs: [f32([narrow.length], narrow)],
        attributes: { to },
      })),
      ...(['bf16', 'f16'] as const).flatMap((from) =>
        targets.map((to) => ({
          label: `every ${from} to ${to}`,
          inputs: [patterns(from)],
          attributes: { to },
        })),
      ),
    ];
  },

  permute(draw: Draw): Draft<'permute'>[] {
    return [...shapes, [33, 65], [13, 7, 19, 11], [1, 64, 1, 40]].flatMap((shape) =>
      permutations(shape.map((_, i) => i)).map((axes) => {
        const [p0 = 0, p1 = 0, p2 = 0, p3 = 0] = axes;
        return { label: `axes ${axes}`, inputs: [draw.normal(shape)], attributes: { p0, p1, p2, p3 } };
      }),
    );
  },

  slice(draw: Draw): Draft<'slice'>[] {
    return [...shapes, largeShape].flatMap((shape) =>
      shape.flatMap((length, axis) => {
        const start = draw.random.integer(0, length + 1);
        const parts = [
          [0, length],
          [0, 0],
          [length, 0],
          [start, draw.random.integer(0, length - start + 1)],
        ] as const;
        return parts.map(([from, size]) => ({
          label: `axis ${axis} ${from}+${size}`,
          inputs: [draw.normal(shape)],
          attributes: { axis, start: from, size },
        }));
      }),
    );
  },

  place(draw: Draw): Draft<'place'>[] {
    return [...shapes, largeShape].flatMap((shape) =>
      shape.flatMap((length, axis) =>
        [
          [0, length],
          [0, length + 3],
          [2, length + 2],
          [1, length + 5],
        ].map(([start, size]) => ({
          label: `axis ${axis} at ${start} of ${size}`,
          inputs: [draw.normal(shape)],
          attributes: { axis, start: start!, size: size! },
        })),
      ),
    );
  },

  concat(draw: Draw): Draft<'concat'>[] {
    return [...shapes, largeShape].flatMap((shape) =>
      shape.flatMap((_, axis) =>
        [0, 1, 6].map((size) => ({
          label: `axis ${axis} and ${size}`,
          inputs: [draw.normal(shape), draw.normal(shape.map((s, i) => (i === axis ? size : s)))],
          attributes: { axis },
        })),
      ),
    );
  },

  repeat(draw: Draw): Draft<'repeat'>[] {
    return [...shapes, largeShape].flatMap((shape) =>
      shape.flatMap((_, axis) =>
        [0, 1, 4].map((count) => ({
          label: `axis ${axis} by ${count}`,
          inputs: [draw.normal(shape.map((s, i) => (i === axis ? 1 : s)))],
          attributes: { axis, count },
        })),
      ),
    );
  },

  gatherRows(draw: Draw): Draft<'gatherRows'>[] {
    const tables = (shape: Shape) => {
      const numbers = draw.normal(shape);
      return [numbers, bf16(numbers), ...forward('cast', [numbers], { to: 'f16' })];
    };
    return tableSizes.flatMap(({ rows, width, count }) =>
      idCases(draw, rows, count).flatMap(({ label, ids }) =>
        tables([rows, width]).map((table) => ({
          label: `${table.dtype} ${label}`,
          inputs: [table, ids],
          attributes: {},
        })),
      ),
    );
  },

  scatterAddRows(draw: Draw): Draft<'scatterAddRows'>[] {
    return tableSizes.flatMap(({ rows, width, count }) =>
      idCases(draw, rows, count).map(({ label, ids }) => ({
        label,
        inputs: [draw.normal([count, width]), ids, draw.normal([rows, width])],
        attributes: {},
      })),
    );
  },

  scatterRows(draw: Draw): Draft<'scatterRows'>[] {
    return memoryDrafts.scatterAddRows(draw);
  },

  storeRounded(draw: Draw): Draft<'storeRounded'>[] {
    return (['bf16', 'q8_0'] as const).flatMap((to) =>
      [...tableSizes, { rows: 3, width: 64, count: 5 }].flatMap(({ rows, width, count }) =>
        idCases(draw, rows, count).map(({ label, ids }) => ({
          label: `${to}, ${label}`,
          inputs: [rounded(draw.normal([rows, width]), to), draw.normal([count, width]), ids],
          attributes: {},
        })),
      ),
    );
  },

  gatherLast(draw: Draw): Draft<'gatherLast'>[] {
    return tableSizes.flatMap(({ rows, width, count }) =>
      idCases(draw, width, rows * count).map(({ label, ids }) => ({
        label,
        inputs: [draw.normal([rows, width]), reshape(ids, [rows, count])],
        attributes: {},
      })),
    );
  },

  scatterLast(draw: Draw): Draft<'scatterLast'>[] {
    return tableSizes.flatMap(({ rows, width, count }) =>
      idCases(draw, width, rows * count).map(({ label, ids }) => ({
        label,
        inputs: [draw.normal([rows, count]), reshape(ids, [rows, count])],
        attributes: { size: width },
      })),
    );
  },
};
