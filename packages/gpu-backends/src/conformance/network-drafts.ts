/**
 * Conformance calls of the fused network ops: normalisation, rotation, smoothing, losses and optimisers. Backward ops
 * get their saved tensors from the reference's forward ops.
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
};
