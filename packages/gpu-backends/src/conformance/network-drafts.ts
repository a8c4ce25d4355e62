/**
 * Conformance calls of the fused network ops: normalisation, rotation, losses, the optimiser, attention and
 * mixture of experts. Backward ops get their saved tensors from the reference's forward ops.
 */
import { opTable } from '@minke/core';
import { bf16, type Draft, type Draw, f32, forward, i32, outside, reshape } from './draw.ts';
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
const attentionSizes = [
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
] as const;

const planSizes = [
  { tokens: 7, perToken: 2, experts: 4 },
  { tokens: 1, perToken: 1, experts: 1 },
  { tokens: 0, perToken: 2, experts: 3 },
  { tokens: 5, perToken: 3, experts: 40 },
  { tokens: 100, perToken: 4, experts: 8 },
];

/** Plans over random choices of experts, some outside, some experts without rows. */
function plans(draw: Draw) {
  return planSizes.flatMap(({ tokens, perToken, experts }) =>
    [
      draw.integers([tokens, perToken], 0, experts),
      draw.indices([tokens, perToken], Math.min(experts, 3)),
    ].map((indices) => {
      const [offsets, , slots] = forward('expertPlan', [indices], { experts });
      return { rows: tokens * perToken, tokens, perToken, experts, offsets: offsets!, slots: slots! };
    }),
  );
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
    return attentionSizes.flatMap(([n, h, hk, m, d, dv]) =>
      [1, 5].map((peak) => ({
        label: `${h} heads over ${hk}, ${m} keys${peak > 1 ? ', peaked' : ''}`,
        inputs: [
          draw.normal([n, h, d], peak),
          draw.normal([m, hk, d]),
          draw.normal([m, hk, dv]),
          draw.ranges(n, m),
        ],
        attributes: { scale: Math.fround(d ** -0.5) },
      })),
    );
  },

  attentionGrad(draw: Draw): Draft<'attentionGrad'>[] {
    return networkDrafts.attention(draw).map(({ label, inputs, attributes }) => {
      const [o, lse] = forward('attention', inputs, attributes);
      return { label, inputs: [...inputs, o!, lse!, draw.normal(o!.shape)], attributes };
    });
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

  routeSelect(draw: Draw): Draft<'routeSelect'>[] {
    const sizes = [
      { n: 5, e: 8, groups: 1, topGroups: 1, k: 2 },
      { n: 5, e: 8, groups: 4, topGroups: 2, k: 3 },
      { n: 3, e: 6, groups: 6, topGroups: 3, k: 2 },
      { n: 1, e: 1, groups: 1, topGroups: 1, k: 1 },
      { n: 0, e: 4, groups: 2, topGroups: 1, k: 1 },
      { n: 4, e: 12, groups: 3, topGroups: 2, k: 8 },
      { n: 40, e: 256, groups: 8, topGroups: 4, k: 8 },
    ];
    return sizes.flatMap(({ n, e, groups, topGroups, k }) =>
      opTable.routeSelect.attributes.groupScore.flatMap((groupScore) => {
        const attributes = { k, groups, topGroups, groupScore };
        const marked = draw.sprinkle(draw.coarse([n, e]), [NaN, -Infinity], 3);
        return [
          {
            label: `${groupScore}, distinct`,
            inputs: [draw.uniform([n, e], 0, 1), draw.normal([e], 0.1)],
            attributes,
          },
          { label: `${groupScore}, ties`, inputs: [draw.coarse([n, e], 2), draw.coarse([e], 1)], attributes },
          { label: `${groupScore}, NaN and -inf`, inputs: [marked, draw.coarse([e])], attributes },
          {
            label: `${groupScore}, all equal`,
            inputs: [draw.among([n, e], [0.5]), draw.among([e], [0])],
            attributes,
          },
        ];
      }),
    );
  },

  expertPlan(draw: Draw): Draft<'expertPlan'>[] {
    return [
      ...planSizes,
      { tokens: 4, perToken: 0, experts: 2 },
      { tokens: 3000, perToken: 6, experts: 64 },
    ].flatMap(({ tokens, perToken, experts }) =>
      [
        draw.integers([tokens, perToken], 0, experts),
        draw.indices([tokens, perToken], Math.min(experts, 3)),
      ].map((indices) => ({
        label: `${tokens} x ${perToken} to ${experts}`,
        inputs: [indices],
        attributes: { experts },
      })),
    );
  },

  histogram(draw: Draw): Draft<'histogram'>[] {
    return [...shapes, largeShape].flatMap((shape) =>
      [0, 1, 9].map((size) => ({
        label: `size ${size}`,
        inputs: [draw.indices(shape, size)],
        attributes: { size },
      })),
    );
  },

  groupedMatmul(draw: Draw): Draft<'groupedMatmul'>[] {
    const widths = [
      [5, 3],
      [1, 1],
      [33, 40],
      [0, 3],
      [3, 0],
    ] as const;
    const untrusted = { rows: 6, experts: 3, offsets: i32([4], [-3, 2, 2, 0x7fffffff]) };
    return [...plans(draw), untrusted].flatMap(({ rows, experts, offsets }) =>
      widths.flatMap(([k, n]) =>
        [0, 1].map((transW) => ({
          label: `${rows} rows to ${experts} experts [${k}, ${n}]${transW ? ' transW' : ''}`,
          inputs: [draw.normal([rows, k]), draw.normal(transW ? [experts, n, k] : [experts, k, n]), offsets],
          attributes: { transW },
        })),
      ),
    );
  },

  groupedMatmulBf16(draw: Draw): Draft<'groupedMatmulBf16'>[] {
    return networkDrafts.groupedMatmul(draw).map(({ label, inputs: [x, w, offsets], attributes }) => ({
      label,
      inputs: [x!, bf16(w!), offsets!],
      attributes,
    }));
  },

  groupedMatmulPacked(draw: Draw): Draft<'groupedMatmulPacked'>[] {
    return networkDrafts
      .groupedMatmul(draw)
      .filter(({ attributes }) => attributes.transW === 1)
      .map(({ label, inputs: [x, w, offsets] }) => ({
        label,
        inputs: [x!, forward('packWeight', [w!], {})[0]!, offsets!],
        attributes: { columns: w!.shape[1]! },
      }));
  },

  groupedMatmulPackedBf16(draw: Draw): Draft<'groupedMatmulPackedBf16'>[] {
    return networkDrafts
      .groupedMatmul(draw)
      .filter(({ attributes }) => attributes.transW === 1)
      .map(({ label, inputs: [x, w, offsets] }) => ({
        label,
        inputs: [x!, forward('packWeightBf16', [bf16(w!)], {})[0]!, offsets!],
        attributes: { columns: w!.shape[1]! },
      }));
  },

  groupedMatmulGradWeight(draw: Draw): Draft<'groupedMatmulGradWeight'>[] {
    const untrusted = { rows: 6, experts: 3, offsets: i32([4], [-3, 2, 2, 0x7fffffff]) };
    return [...plans(draw), untrusted].flatMap(({ rows, experts, offsets }) =>
      (
        [
          [5, 3],
          [1, 1],
          [33, 40],
          [3, 0],
        ] as const
      ).map(([n, k]) => ({
        label: `${rows} rows to ${experts} experts [${n}, ${k}]`,
        inputs: [draw.normal([rows, n]), draw.normal([rows, k]), offsets, draw.normal([experts, n, k])],
        attributes: {},
      })),
    );
  },

  moeCombine(draw: Draw): Draft<'moeCombine'>[] {
    return plans(draw).flatMap(({ rows, tokens, perToken, slots }) => {
      const marked = draw.sprinkle(slots, [...outside, rows]);
      return [slots, marked, draw.integers(slots.shape, 0, rows)].flatMap((chosen) =>
        [1, 40].map((width) => ({
          label: `${tokens} x ${perToken}, width ${width}`,
          inputs: [draw.normal([rows, width]), draw.normal(slots.shape), chosen],
          attributes: {},
        })),
      );
    });
  },

  moeCombineGrad(draw: Draw): Draft<'moeCombineGrad'>[] {
    return plans(draw).flatMap(({ rows, tokens, perToken, slots }) => {
      const marked = draw.sprinkle(slots, [...outside, rows]);
      return [slots, marked].flatMap((chosen) =>
        [1, 40].map((width) => ({
          label: `${tokens} x ${perToken}, width ${width}`,
          inputs: [
            draw.normal([rows, width]),
            draw.normal(slots.shape),
            reshape(chosen, slots.shape),
            draw.normal([tokens, width]),
          ],
          attributes: {},
        })),
      );
    });
  },
};
