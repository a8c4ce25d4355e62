/**
 * Conformance calls of attention in all its forms, and of the projections around latent attention. Backward ops get
 * their saved tensors from the reference's forward ops.
 */
import { type Draft, type Draw, f32, forward, type HostTensor, i32, rounded } from './draw.ts';

/** [N, H, Hk, M, D, Dv] */
const attentionSizes: readonly (readonly [number, number, number, number, number, number])[] = [
  [5, 4, 4, 5, 8, 8],
  [7, 4, 2, 11, 3, 5],
  [1, 6, 1, 33, 16, 16],
  [3, 1, 1, 1, 1, 1],
  [0, 2, 2, 4, 4, 4],
  [4, 2, 1, 0, 4, 4],
  [2, 2, 2, 3, 4, 0],
  [3, 0, 0, 4, 4, 4],
  [2, 2, 1, 300, 24, 16],
  [70, 3, 3, 70, 48, 32],
  [3, 3, 1, 777, 20, 9],
  [40, 2, 2, 600, 33, 19],
];

/** Of decoding: whole vectors of lanes, sections that threads share. */
const manyHeads = [2, 16, 1, 600, 64, 0] as const;

/** Rows, heads and widths of latent attention. */
const latentSizes = [
  { n: 5, h: 3, nope: 8, rotary: 4, value: 6, rank: 16 },
  { n: 1, h: 1, nope: 1, rotary: 1, value: 1, rank: 1 },
  { n: 0, h: 2, nope: 4, rotary: 2, value: 4, rank: 8 },
  { n: 3, h: 0, nope: 4, rotary: 2, value: 4, rank: 8 },
  { n: 3, h: 2, nope: 0, rotary: 5, value: 3, rank: 7 },
  { n: 3, h: 2, nope: 5, rotary: 0, value: 0, rank: 7 },
  { n: 4, h: 2, nope: 5, rotary: 2, value: 3, rank: 0 },
  { n: 70, h: 5, nope: 33, rotary: 17, value: 35, rank: 67 },
  { n: 700, h: 2, nope: 32, rotary: 16, value: 32, rank: 64 },
];

/** `ranges` as a training step has them: every row of packed segments sees its segment up to itself. */
function causalSegments(lengths: readonly number[]): HostTensor {
  const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, length) => sum + length, 0));
  const pairs = lengths.flatMap((length, i) =>
    Array.from({ length }, (_, n) => [starts[i]!, starts[i]! + n + 1]),
  );
  return i32([pairs.length, 2], pairs.flat());
}

/** [N, H, Hk, M, D, Dv]: groups of up to 20 samples with prefixes of all lengths against tiles and sections. */
const prefixedSizes: readonly (readonly [number, number, number, number, number, number])[] = [
  [40, 4, 4, 600, 48, 32],
  [24, 6, 2, 900, 24, 80],
  [100, 2, 1, 400, 33, 19],
  [44, 7, 7, 500, 20, 24],
];

/** The same call with products of bf16 numbers. */
const asBfloats = <O extends 'latentAttentionRounded' | 'expandedAttention'>(draft: Draft<O>): Draft<O> => ({
  ...draft,
  label: `${draft.label}, products of bf16`,
  attributes: { ...draft.attributes, bfloat: 1 },
});

/** Queries in groups: each group has a prefix, every query rows of its own that end anywhere after it. */
function groupRanges(rows: number, keys: number): HostTensor {
  const groups = [1, 20, 3, 8, 5];
  const prefixes = [37, 64, 0, 300, 1];
  const own = [1, 64, 3, 27, 200, 0, 300];
  const members = groups.flatMap((count, g) => new Array<number>(count).fill(prefixes[g] as number));
  const numbers = Array.from({ length: rows }, (_, n) => {
    const length = members[n % members.length] as number;
    const start = (n * 7) % (keys - 300);
    return [3, Math.min(3 + length, keys), start, start + (own[n % own.length] as number)];
  });
  return i32([rows, 4], numbers.flat());
}

/** Attention over latents: blocks of queries whole and in part, tiles and panels likewise, parts that are missing. */
const expandedSizes = [
  { n: 1, h: 2, m: 1, nope: 4, rotary: 2, value: 3, rank: 5 },
  { n: 7, h: 3, m: 90, nope: 17, rotary: 4, value: 19, rank: 24 },
  { n: 70, h: 2, m: 70, nope: 32, rotary: 6, value: 16, rank: 40 },
  { n: 33, h: 1, m: 700, nope: 9, rotary: 8, value: 33, rank: 32 },
  { n: 5, h: 2, m: 66, nope: 0, rotary: 4, value: 5, rank: 7 },
  { n: 5, h: 2, m: 66, nope: 6, rotary: 0, value: 5, rank: 7 },
  { n: 5, h: 2, m: 66, nope: 6, rotary: 2, value: 0, rank: 7 },
  { n: 0, h: 2, m: 6, nope: 6, rotary: 2, value: 4, rank: 7 },
  { n: 3, h: 2, m: 0, nope: 6, rotary: 2, value: 4, rank: 7 },
] as const;

export const attentionDrafts = {
  rangeMask(draw: Draw): Draft<'rangeMask'>[] {
    return [
      [5, 7],
      [1, 1],
      [0, 3],
      [3, 0],
      [130, 65],
    ].map(([n, size]) => ({
      label: `${n} rows of ${size}`,
      inputs: [draw.ranges(n!, size!)],
      attributes: { size: size! },
    }));
  },

  attention(draw: Draw): Draft<'attention'>[] {
    const draft = (
      label: string,
      ranges: HostTensor,
      peak: number,
      sizes: (typeof attentionSizes)[number],
    ) => {
      const [n, h, hk, m, d, dv] = sizes;
      return {
        label: `${label}${h} heads over ${hk}, ${m} keys${peak > 1 ? ', peaked' : ''}`,
        inputs: [draw.normal([n, h, d], peak), draw.normal([m, hk, d]), draw.normal([m, hk, dv]), ranges],
        attributes: { scale: Math.fround(d ** -0.5) },
      };
    };
    return [
      ...attentionSizes.flatMap((sizes) =>
        [1, 5].map((peak) => draft('', draw.ranges(sizes[0], sizes[3]), peak, sizes)),
      ),
      ...[[40, 1, 77, 32], [330]].map((lengths) => {
        const rows = lengths.reduce((sum, length) => sum + length, 0);
        return draft(`causal ${lengths}, `, causalSegments(lengths), 1, [rows, 2, 1, rows, 18, 34]);
      }),
    ];
  },

  attentionGrad(draw: Draw): Draft<'attentionGrad'>[] {
    return attentionDrafts.attention(draw).map(({ label, inputs, attributes }) => {
      const [o, lse] = forward('attention', inputs, attributes);
      return { label, inputs: [...inputs, o!, lse!, draw.normal(o!.shape)], attributes };
    });
  },

  prefixedAttention(draw: Draw): Draft<'prefixedAttention'>[] {
    const draft = (
      label: string,
      ranges: HostTensor,
      [n, h, hk, m, d, dv]: (typeof attentionSizes)[number],
    ) => ({
      label: `${label}${h} heads over ${hk}, ${m} keys`,
      inputs: [draw.normal([n, h, d], 2), draw.normal([m, hk, d]), draw.normal([m, hk, dv]), ranges],
      attributes: { scale: Math.fround(d ** -0.5) },
    });
    return [
      ...attentionSizes.map((sizes) => draft('any ranges, ', draw.prefixedRanges(sizes[0], sizes[3]), sizes)),
      ...prefixedSizes.map((sizes) => draft('groups, ', groupRanges(sizes[0], sizes[3]), sizes)),
    ];
  },

  latentAttention(draw: Draw): Draft<'latentAttention'>[] {
    return attentionSizes.flatMap(([n, h, , m, d]) =>
      [...new Set([0, Math.floor(d / 2), d])].map((valueWidth) => ({
        label: `value width ${valueWidth} of ${d}, ${m} rows`,
        inputs: [draw.normal([n, h, d], 2), draw.normal([m, d]), draw.ranges(n, m)],
        attributes: { scale: Math.fround(d ** -0.5), valueWidth },
      })),
    );
  },

  latentAttentionRounded(draw: Draw): Draft<'latentAttentionRounded'>[] {
    const exact: Draft<'latentAttentionRounded'>[] = (['bf16', 'q8_0'] as const).flatMap((to) =>
      [...attentionSizes, manyHeads].flatMap(([n, h, , m, d]) =>
        [...new Set([0, Math.floor(d / 2), d])].map((valueWidth) => ({
          label: `${to}, value width ${valueWidth} of ${d}, ${m} rows`,
          inputs: [draw.normal([n, h, d], 2), rounded(draw.normal([m, d]), to), draw.ranges(n, m)],
          attributes: { scale: Math.fround(d ** -0.5), valueWidth, bfloat: 0 },
        })),
      ),
    );
    return [...exact, ...exact.map(asBfloats)];
  },

  attentionRounded(draw: Draw): Draft<'attentionRounded'>[] {
    return (['bf16', 'q8_0'] as const).flatMap((to) =>
      [...attentionSizes, [2, 9, 3, 600, 64, 64] as const, [40, 6, 3, 600, 32, 64] as const].map(
        ([n, h, hk, m, d, dv]) => ({
          label: `${to}, ${h} heads over ${hk}, ${m} rows of ${d} and ${dv}`,
          inputs: [
            draw.normal([n, h, d], 2),
            rounded(draw.normal([m, hk * d]), to),
            rounded(draw.normal([m, hk * dv]), to),
            draw.ranges(n, m),
          ],
          attributes: { scale: Math.fround(d ** -0.5), keyHeads: hk, valueWidth: dv },
        }),
      ),
    );
  },

  expandedAttention(draw: Draw): Draft<'expandedAttention'>[] {
    const types = [
      ['f32', 'f32'],
      ['q8_0', 'f32'],
      ['f32', 'bf16'],
      ['q8_0', 'q8_0'],
    ] as const;
    const exact: Draft<'expandedAttention'>[] = types.flatMap(([dtype, kept]) =>
      expandedSizes.map(({ n, h, m, nope, rotary, value, rank }) => {
        const width = dtype === 'f32' ? rank : 32 * Math.ceil(rank / 32);
        const w = draw.normal([h, nope + value, width], width ** -0.5);
        const latents = draw.normal([m, width + rotary]);
        return {
          label: `${dtype}, ${m} rows in ${kept}, nope ${nope} of ${nope + rotary}`,
          inputs: [
            draw.normal([n, h, nope + rotary], 2),
            kept === 'f32' ? latents : rounded(latents, kept),
            dtype === 'f32' ? w : forward('quantize', [w], { to: dtype })[0]!,
            n === m ? causalSegments([n]) : draw.ranges(n, m),
          ],
          attributes: { scale: Math.fround((nope + rotary) ** -0.5), nope, bfloat: 0 },
        };
      }),
    );
    return [...exact, ...exact.map(asBfloats)];
  },

  splitAttention(draw: Draw): Draft<'splitAttention'>[] {
    return attentionSizes.flatMap(([n, h, hk, m, d, dv]) =>
      (['plain', 'window', 'sink'] as const).map((kind) => ({
        label: `${kind}, ${h} heads over ${hk}, ${m} keys`,
        inputs: [
          draw.normal([n, h, d], 2),
          draw.normal([m, hk, d]),
          draw.normal([m, hk, dv]),
          draw.splitRanges(n, m),
          kind === 'window' ? f32([n, h], new Array<number>(n * h).fill(-Infinity)) : draw.normal([n, h]),
          kind === 'sink' ? draw.normal([h], 2) : f32([h], new Array<number>(h).fill(-Infinity)),
        ],
        attributes: {
          scale: Math.fround(d ** -0.5),
          valueWidth: kind === 'plain' || hk !== 1 ? dv : dv >> 1,
        },
      })),
    );
  },

  splitAttentionGrad(draw: Draw): Draft<'splitAttentionGrad'>[] {
    return attentionDrafts.splitAttention(draw).map(({ label, inputs, attributes: { scale } }) => {
      const valueWidth = inputs[2]!.shape[2]!;
      const [o, lse] = forward('splitAttention', inputs, { scale, valueWidth });
      return {
        label,
        inputs: [...inputs.slice(0, 5), o!, lse!, draw.normal(o!.shape)],
        attributes: { scale },
      };
    });
  },

  gatheredAttention(draw: Draw): Draft<'gatheredAttention'>[] {
    return attentionSizes.flatMap(([n, h, , m, d]) =>
      [0, 3, 70, 600].map((count) => ({
        label: `${count} of ${m} rows`,
        inputs: [
          draw.normal([n, h, d], 2),
          draw.normal([m, d]),
          draw.integers([n, count], -1, m + 1),
          count === 3 ? draw.normal([h]) : f32([h], new Array<number>(h).fill(-Infinity)),
        ],
        attributes: { scale: Math.fround(d ** -0.5), valueWidth: count === 70 ? d : d >> 1 },
      })),
    );
  },

  indexerScores(draw: Draw): Draft<'indexerScores'>[] {
    return [...attentionSizes, [20, 37, 1, 1100, 16, 0] as const].map(([n, h, , m, d]) => ({
      label: `${n} queries of ${h} heads, ${m} keys of ${d}`,
      inputs: [draw.normal([n, h, d]), draw.normal([n, h]), draw.normal([m, d]), draw.ranges(n, m)],
      attributes: {},
    }));
  },

  selectLargest(draw: Draw): Draft<'selectLargest'>[] {
    const marked = (shape: readonly number[]) =>
      draw.sprinkle(draw.coarse(shape), [NaN, -Infinity, Infinity, -0], 3);
    const rows = [
      { label: 'distinct', x: draw.normal([5, 1003]) },
      { label: 'few', x: draw.normal([3, 7]) },
      { label: 'of all sizes', x: draw.normal([2, 5000], 1e-30) },
      { label: 'ties', x: draw.coarse([6, 333], 2) },
      { label: 'all equal', x: draw.among([2, 110], [0.5]) },
      { label: 'both zeros', x: draw.among([3, 90], [0, -0]) },
      { label: 'NaN and infinities', x: marked([4, 90]) },
      { label: 'only NaN and -inf', x: f32([2, 3], [NaN, -Infinity, NaN, -Infinity, NaN, NaN]) },
      { label: 'no rows', x: draw.normal([0, 4]) },
      { label: 'no columns', x: draw.normal([3, 0]) },
    ];
    return rows.flatMap(({ label, x }) =>
      [...new Set([0, 1, 40, x.shape[1]!, x.shape[1]! + 9])].map((k) => ({
        label: `${label}, k ${k}`,
        inputs: [x],
        attributes: { k },
      })),
    );
  },

  expandKeys(draw: Draw): Draft<'expandKeys'>[] {
    return latentSizes.map(({ n, h, nope, rotary, value }) => ({
      label: `nope ${nope}`,
      inputs: [draw.normal([n, h, nope + value]), draw.normal([n, rotary])],
      attributes: { nope },
    }));
  },

  expandKeysGrad(draw: Draw): Draft<'expandKeysGrad'>[] {
    return latentSizes.map(({ n, h, nope, rotary, value }) => ({
      label: `nope ${nope}`,
      inputs: [draw.normal([n, h, nope + rotary]), draw.normal([n, h, value])],
      attributes: { nope },
    }));
  },

  absorbQuery(draw: Draw): Draft<'absorbQuery'>[] {
    return latentSizes.map(({ n, h, nope, rotary, value, rank }) => ({
      label: `nope ${nope}`,
      inputs: [draw.normal([n, h, nope + rotary]), draw.normal([h, nope + value, rank])],
      attributes: { nope },
    }));
  },

  absorbOutput(draw: Draw): Draft<'absorbOutput'>[] {
    return latentSizes.map(({ n, h, nope, value, rank }) => ({
      label: `from ${nope}`,
      inputs: [draw.normal([n, h, rank]), draw.normal([h, nope + value, rank])],
      attributes: { start: nope },
    }));
  },
};
