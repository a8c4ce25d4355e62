/**
 * Conformance calls of the mixture-of-experts ops: routing, plans, grouped products, combination and the fused
 * feed-forward. Backward ops get their saved tensors from the reference's forward ops.
 */
import { opTable } from '@minke/core';
import { bf16, type Draft, type Draw, forward, i32, outside, reshape } from './draw.ts';
import { largeShape, shapes } from './memory-drafts.ts';

const routeSizes = [
  { n: 5, e: 8, groups: 1, topGroups: 1, k: 2 },
  { n: 5, e: 8, groups: 4, topGroups: 2, k: 3 },
  { n: 3, e: 6, groups: 6, topGroups: 3, k: 2 },
  { n: 1, e: 1, groups: 1, topGroups: 1, k: 1 },
  { n: 0, e: 4, groups: 2, topGroups: 1, k: 1 },
  { n: 4, e: 12, groups: 3, topGroups: 2, k: 8 },
  { n: 40, e: 256, groups: 8, topGroups: 4, k: 8 },
];

const planSizes = [
  { tokens: 7, perToken: 2, experts: 4 },
  { tokens: 1, perToken: 1, experts: 1 },
  { tokens: 0, perToken: 2, experts: 3 },
  { tokens: 5, perToken: 3, experts: 40 },
  { tokens: 100, perToken: 4, experts: 8 },
];

/** Plans over random choices of experts, some outside, some experts without rows. */
export function plans(draw: Draw) {
  return planSizes.flatMap(({ tokens, perToken, experts }) =>
    [
      draw.integers([tokens, perToken], 0, experts),
      draw.indices([tokens, perToken], Math.min(experts, 3)),
    ].map((indices) => {
      const [offsets, sorted, slots] = forward('expertPlan', [indices], { experts });
      return {
        rows: tokens * perToken,
        tokens,
        perToken,
        experts,
        offsets: offsets!,
        sorted: sorted!,
        slots: slots!,
      };
    }),
  );
}

/** Widths on both sides of a vector, and no or some shared expert. */
const unevenWidths = [
  { d: 5, f: 3, s: 0 },
  { d: 16, f: 8, s: 8 },
  { d: 40, f: 33, s: 50 },
  { d: 1, f: 1, s: 1 },
];

/** Inputs of the fused feed-forward over the plans. */
export function feedForwards(draw: Draw, widths = unevenWidths) {
  return plans(draw).flatMap(({ tokens, perToken, experts, offsets, sorted, slots }) =>
    widths.map(({ d, f, s }) => {
      const scale = d ** -0.5;
      const matrices = [
        draw.normal([experts, f, d], scale),
        draw.normal([experts, f, d], scale),
        draw.normal([experts, d, f], f ** -0.5),
        draw.normal([s, d], scale),
        draw.normal([s, d], scale),
        draw.normal([d, s], Math.max(s, 1) ** -0.5),
      ];
      return {
        label: `${tokens} x ${perToken} to ${experts}, widths ${d} ${f} ${s}`,
        x: draw.normal([tokens, d]),
        weights: draw.uniform([tokens, perToken], 0.1, 1),
        matrices,
        plan: [offsets, sorted, slots],
      };
    }),
  );
}

export const expertDrafts = {
  routeSelect(draw: Draw): Draft<'routeSelect'>[] {
    return routeSizes.flatMap(({ n, e, groups, topGroups, k }) =>
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
    return expertDrafts.groupedMatmul(draw).map(({ label, inputs: [x, w, offsets], attributes }) => ({
      label,
      inputs: [x!, bf16(w!), offsets!],
      attributes,
    }));
  },

  groupedMatmulPacked(draw: Draw): Draft<'groupedMatmulPacked'>[] {
    return expertDrafts
      .groupedMatmul(draw)
      .filter(({ attributes }) => attributes.transW === 1)
      .map(({ label, inputs: [x, w, offsets] }) => ({
        label,
        inputs: [x!, forward('packWeight', [w!], {})[0]!, offsets!],
        attributes: { columns: w!.shape[1]! },
      }));
  },

  groupedMatmulPackedBf16(draw: Draw): Draft<'groupedMatmulPackedBf16'>[] {
    return expertDrafts
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

  route(draw: Draw): Draft<'route'>[] {
    return routeSizes.flatMap(({ n, e, groups, topGroups, k }) =>
      opTable.route.attributes.scoring.flatMap((scoring) =>
        opTable.route.attributes.groupScore.flatMap((groupScore) =>
          [0, 1].flatMap((normalise) => {
            const attributes = { scoring, k, groups, topGroups, groupScore, normalise, scale: 2.5 };
            // Different sums of rounded scores may tie in one arithmetic and not in another: few values, none opposite.
            return [
              {
                label: `${scoring}, ${groupScore}`,
                inputs: [draw.normal([n, e], 2), draw.normal([e], 0.1)],
                attributes,
              },
              {
                label: `${scoring}, ${groupScore}, ties`,
                inputs: [draw.among([n, e], [1, 2]), draw.among([e], [0])],
                attributes,
              },
            ];
          }),
        ),
      ),
    );
  },

  routeGrad(draw: Draw): Draft<'routeGrad'>[] {
    return routeSizes.flatMap(({ n, e, k }) =>
      opTable.routeGrad.attributes.scoring.flatMap((scoring) =>
        [0, 1].map((normalise) => ({
          label: scoring,
          inputs: [
            draw.uniform([n, e], 0.05, 0.95),
            // Ascending, so all different; some outside.
            draw.sprinkle(
              i32(
                [n, k],
                Int32Array.from({ length: n * k }, (_, i) => i % k),
              ),
              [...outside, e],
              6,
            ),
            draw.normal([n, k]),
            draw.normal([n, e]),
          ],
          attributes: { scoring, normalise, scale: 2.5 },
        })),
      ),
    );
  },

  moeFeedForward(draw: Draw): Draft<'moeFeedForward'>[] {
    return feedForwards(draw).map(({ label, x, weights, matrices, plan }) => ({
      label,
      inputs: [x, weights, ...matrices, ...plan],
      attributes: {},
    }));
  },

  moeFeedForwardGrad(draw: Draw): Draft<'moeFeedForwardGrad'>[] {
    return feedForwards(draw).map(({ label, x, weights, matrices, plan }) => {
      const [out, ...saved] = forward('moeFeedForward', [x, weights, ...matrices, ...plan], {});
      return {
        label,
        inputs: [weights, ...matrices, ...plan, ...saved, draw.normal(out!.shape)],
        attributes: {},
      };
    });
  },

  moeFeedForwardGradWeight(draw: Draw): Draft<'moeFeedForwardGradWeight'>[] {
    return feedForwards(draw).flatMap(({ label, x, matrices: [gate, up, down], plan }) => {
      const [offsets, sorted] = plan;
      const saved = [sorted!.shape[0]!, gate!.shape[1]!];
      return [0, 1].map((accumulate) => ({
        label: `${label}${accumulate ? '' : ', written'}`,
        inputs: [
          x,
          draw.normal(x.shape),
          offsets!,
          sorted!,
          draw.normal(saved),
          draw.normal(saved),
          draw.normal(saved),
          draw.normal(gate!.shape),
          draw.normal(up!.shape),
          draw.normal(down!.shape),
        ],
        attributes: { accumulate },
      }));
    });
  },

  moeFeedForwardPacked(draw: Draw): Draft<'moeFeedForwardPacked'>[] {
    return feedForwards(draw).map(({ label, x, weights, matrices, plan }) => ({
      label,
      inputs: [x, weights, ...matrices.map((w) => forward('packWeight', [w], {})[0]!), ...plan],
      attributes: {},
    }));
  },
};
