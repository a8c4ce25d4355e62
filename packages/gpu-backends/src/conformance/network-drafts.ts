/**
 * Conformance calls of the fused network ops: normalisation, rotation, losses, the optimiser and
 * attention. Backward ops get their saved tensors from the reference's forward ops.
 */
import { opTable } from '@minke/core';
import { type Draft, type Draw, f32, forward, type HostTensor, i32 } from './draw.ts';
import { largeShape, shapes } from './memory-drafts.ts';

const rowSizes = [
  [3, 5],
  [1, 1],
  [0, 4],
  [1, 64],
  [7, 33],
  [200, 129],
  [3, 2000],
] as const;

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
];

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

/** Rows and widths of smoothing. */
const smoothSizes = [
  [1, 1],
  [0, 4],
  [3, 0],
  [7, 5],
  [2, 64],
  [33, 130],
  [300, 17],
  [90, 513],
] as const;

/** A start about every so many rows, as any number but 0. */
function chains(draw: Draw, rows: number, every: number): HostTensor {
  const starts = Array.from({ length: rows }, () =>
    draw.random.integer(0, every) === 0 ? draw.random.pick([1, -1, 7]) : 0,
  );
  return i32([rows], starts);
}

export const networkDrafts = {
  rmsNorm(draw: Draw): Draft<'rmsNorm'>[] {
    return [1, 1e-4, 1e15].flatMap((scale) =>
      [...rowSizes, [2, 0] as const].map(([n, c]) => ({
        label: `scale ${scale}`,
        inputs: [draw.normal([n, c], scale), draw.uniform([c], -2, 2)],
        attributes: { eps: Math.fround(1e-6) },
      })),
    );
  },

  rmsNormGrad(draw: Draw): Draft<'rmsNormGrad'>[] {
    return [...rowSizes, [1031, 7] as const].map(([n, c]) => {
      const x = draw.normal([n, c], 2);
      const w = draw.uniform([c], -2, 2);
      const [, rstd] = forward('rmsNorm', [x, w], { eps: Math.fround(1e-6) });
      return { label: '', inputs: [x, w, rstd!, draw.normal([n, c])], attributes: {} };
    });
  },

  rope(draw: Draw): Draft<'rope'>[] {
    const sizes = [
      { n: 5, h: 3, d: 8, half: 4, start: 0 },
      { n: 5, h: 2, d: 11, half: 3, start: 4 },
      { n: 1, h: 1, d: 2, half: 1, start: 0 },
      { n: 3, h: 2, d: 4, half: 0, start: 4 },
      { n: 0, h: 2, d: 4, half: 2, start: 0 },
      { n: 4, h: 0, d: 4, half: 2, start: 0 },
      { n: 64, h: 9, d: 48, half: 16, start: 16 },
    ];
    return sizes.flatMap(({ n, h, d, half, start }) =>
      opTable.rope.attributes.layout.flatMap((layout) =>
        [0, 1].map((inverse) => {
          const angles = draw.uniform([10, half], 0, 6);
          return {
            label: `${layout}${inverse ? ' inverse' : ''}`,
            inputs: [
              draw.normal([n, h, d]),
              f32([10, half], Array.from(angles.data, Math.cos)),
              f32([10, half], Array.from(angles.data, Math.sin)),
              draw.indices([n], 10),
            ],
            attributes: { start, layout, inverse },
          };
        }),
      ),
    );
  },

  smoothRows(draw: Draw): Draft<'smoothRows'>[] {
    return smoothSizes.flatMap(([n, d]) =>
      [2, 30].map((every) => ({
        label: `chains of about ${every}`,
        inputs: [draw.normal([n, d]), draw.uniform([n], 0, 1), chains(draw, n, every)],
        attributes: {},
      })),
    );
  },

  smoothRowsGrad(draw: Draw): Draft<'smoothRowsGrad'>[] {
    return networkDrafts.smoothRows(draw).map(({ label, inputs }) => {
      const [x] = inputs as [HostTensor];
      const [y] = forward('smoothRows', inputs, {}) as [HostTensor];
      return { label, inputs: [...inputs, y, draw.normal(x.shape)], attributes: {} };
    });
  },

  swiglu(draw: Draw): Draft<'swiglu'>[] {
    return [...shapes, largeShape].map((shape) => ({
      label: '',
      inputs: [draw.sprinkle(draw.normal(shape, 4), [1000, -1000, 0], 20), draw.normal(shape)],
      attributes: {},
    }));
  },

  swigluGrad(draw: Draw): Draft<'swigluGrad'>[] {
    return [...shapes, largeShape].map((shape) => ({
      label: '',
      inputs: [
        draw.sprinkle(draw.normal(shape, 4), [100, -100, 0], 20),
        draw.normal(shape),
        draw.normal(shape),
      ],
      attributes: {},
    }));
  },

  crossEntropy(draw: Draw): Draft<'crossEntropy'>[] {
    const rows = rowSizes.map(([n, v]) => ({ label: '', logits: draw.normal([n, v], 4), n, v }));
    const masked = f32([2, 3], [1, -Infinity, 2, 0, 3, -Infinity]);
    return [
      ...rows.map(({ label, logits, n, v }) => ({
        label,
        inputs: [logits, draw.indices([n], v)],
        attributes: {},
      })),
      { label: 'large', inputs: [f32([1, 3], [1e4, 1e4 - 1, 0]), i32([1], [1])], attributes: {} },
      { label: '-inf beside the target', inputs: [masked, i32([2], [0, 1])], attributes: {} },
    ];
  },

  crossEntropyGrad(draw: Draw): Draft<'crossEntropyGrad'>[] {
    return networkDrafts.crossEntropy(draw).map(({ label, inputs: [logits, targets] }) => {
      const [loss, lse] = forward('crossEntropy', [logits!, targets!], {});
      return { label, inputs: [logits!, targets!, lse!, draw.normal(loss!.shape)], attributes: {} };
    });
  },

  adamW(draw: Draw): Draft<'adamW'>[] {
    const settings = { lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };
    const steps = [
      { ...settings, correction1: 0.1, correction2: 0.05, maxNorm: 0 },
      { ...settings, correction1: 0.271, correction2: 0.142, maxNorm: 1 },
      { ...settings, correction1: 1, correction2: 1, maxNorm: 1e6, weightDecay: 0 },
    ].map((step) => Object.fromEntries(Object.entries(step).map(([name, x]) => [name, Math.fround(x)])));
    return [...shapes, largeShape].flatMap((shape) =>
      steps.map((attributes) => ({
        label: `maxNorm ${attributes.maxNorm}`,
        inputs: [
          draw.normal(shape, 3),
          f32([1], [16]),
          draw.normal(shape),
          draw.normal(shape, 0.1),
          draw.uniform(shape, 0.01, 0.5),
        ],
        attributes: attributes as Draft<'adamW'>['attributes'],
      })),
    );
  },

  blend(draw: Draw): Draft<'blend'>[] {
    return [...shapes, largeShape].flatMap((shape) =>
      [
        { a: 1, b: 0.5 },
        { a: -0.25, b: 2.03125 },
      ].map((attributes) => ({ label: '', inputs: [draw.normal(shape), draw.normal(shape)], attributes })),
    );
  },

  muonDirection(draw: Draw): Draft<'muonDirection'>[] {
    const sizes = [
      [3, 5],
      [1, 1],
      [0, 4],
      [64, 300],
      [4, 7, 9],
      [0, 3, 3],
      [2, 0, 3],
      [3, 90, 100],
    ];
    return sizes.flatMap((shape) =>
      [
        { nesterov: 1, maxNorm: 0, scale: 1 },
        { nesterov: 0, maxNorm: 1, scale: 1 },
        { nesterov: 1, maxNorm: 1, scale: 0 },
      ].map(({ scale, ...rest }) => ({
        label: scale ? `maxNorm ${rest.maxNorm}` : 'zeros',
        inputs: [draw.normal(shape, 3 * scale), f32([1], [16]), draw.normal(shape, scale)],
        attributes: { beta: Math.fround(0.95), eps: Math.fround(1e-7), ...rest },
      })),
    );
  },

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
    return networkDrafts.attention(draw).map(({ label, inputs, attributes }) => {
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
    return networkDrafts.splitAttention(draw).map(({ label, inputs, attributes: { scale } }) => {
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
