/**
 * Values that ordinary draws do not have, put into an op's ordinary calls: NaN, infinities, subnormal numbers and
 * negative zero.
 *
 * What must hold is what the reference gives, because it computes each output from the inputs that the op table
 * says it depends on: NaN in any of them gives NaN, infinities follow IEEE 754 (and so do their sums and products
 * with zero), and nothing else changes. So a key outside a query's range, a row no index names or another row of a
 * batch never leaks its NaN; subnormal numbers are not flushed to zero. Where an op defines something else (topK,
 * routeSelect: NaN counts as -inf) the reference has it too. Only for backends with IEEE 754 arithmetic.
 */
import { elementCount, type OpName } from '@minke/core';
import type { Draft, Draw, HostTensor } from './draw.ts';

const kinds = {
  NaN: [NaN],
  infinities: [Infinity, -Infinity],
  'subnormal numbers': [1e-40, -1e-42, 2 ** -149, -(2 ** -127), -0],
} as const;

type Kind = keyof typeof kinds;

/** Calls of an op that take hostile values, at most: as many as give every code path some. */
const mostDrafts = 40;
const mostElements = 20_000;

/** Kinds without a defined result. */
const undefinedFor: { readonly [O in OpName]?: readonly Kind[] } = {
  // An integer has no NaN, and conversions may saturate an infinity or not.
  cast: ['NaN', 'infinities'],
  // Quotients and roots of subnormal numbers overflow or not within the allowed rounding.
  binary: ['subnormal numbers'],
  // At an infinity: the limit (0 for silu at -inf), or the NaN of infinity times zero. Where it is defined, the
  // ordinary drafts have it.
  unary: ['infinities', 'subnormal numbers'],
  unaryGrad: ['infinities', 'subnormal numbers'],
  swiglu: ['infinities'],
  swigluGrad: ['infinities'],
  moeFeedForward: ['infinities'],
  moeFeedForwardGrad: ['infinities'],
  moeFeedForwardPacked: ['infinities'],
  // Products with scales that are subnormal lose digits before the sum does.
  matmulQuantized: ['subnormal numbers'],
  groupedMatmulQuantized: ['subnormal numbers'],
  // The norm squares subnormal numbers away or keeps their steps.
  muonDirection: ['subnormal numbers'],
  // Settings out of their ranges; logits with infinities are in the ordinary drafts.
  sample: ['infinities'],
  // An infinite weight decays to itself or to NaN; a subnormal moment is divided by epsilon, which shows its steps.
  adamW: ['infinities', 'subnormal numbers'],
  // Changed keys no longer fit the log-sum-exp that was saved: probabilities above one, or infinite.
  attentionGrad: ['infinities', 'subnormal numbers'],
  splitAttentionGrad: ['infinities', 'subnormal numbers'],
};

/** `tensor` with a few of its numbers, at least one, replaced by hostile ones. */
function poison(draw: Draw, tensor: HostTensor, values: readonly number[]): HostTensor {
  const data = tensor.data.slice();
  const few = Math.min(data.length, 1 + draw.random.integer(0, 3));
  for (let i = 0; i < few; i++) data[draw.random.integer(0, data.length)] = draw.random.pick(values);
  return { ...tensor, data };
}

/** Copies of ordinary drafts with hostile values in one f32 input after another, then in all of them. */
export function hostileDrafts<O extends OpName>(
  op: O,
  draw: Draw,
  ordinary: readonly Draft<O>[],
): Draft<O>[] {
  const size = ({ inputs }: Draft<O>) => inputs.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const suitable = ordinary.filter((draft) => size(draft) <= mostElements);
  const step = Math.max(1, suitable.length / mostDrafts);
  const chosen = suitable.filter((_, i) => Math.floor(i / step) !== Math.floor((i - 1) / step));
  return chosen.flatMap((draft) => {
    const floats = draft.inputs.flatMap(({ dtype, shape }, i) =>
      dtype === 'f32' && elementCount(shape) > 0 ? [i] : [],
    );
    const targets = floats.length > 1 ? [...floats.map((i) => [i]), floats] : [floats];
    return (Object.keys(kinds) as Kind[])
      .filter((kind) => floats.length > 0 && !undefinedFor[op]?.includes(kind))
      .flatMap((kind) =>
        targets.map((target) => ({
          label: `${draft.label}, ${kind} in ${target.map((i) => `input ${i}`).join(' and ')}`,
          inputs: draft.inputs.map((input, i) =>
            target.includes(i) ? poison(draw, input, kinds[kind]) : input,
          ),
          attributes: draft.attributes,
        })),
      );
  });
}
