/**
 * The experts: dispatch, grouped SwiGLU, combine; forward and backward.
 *
 * Token copies are sorted by expert (`expertPlan`), so that each expert multiplies one block of rows;
 * capacity is N x K whatever the routing, nothing is dropped. `fusedExperts` is one op forward and two back,
 * with the shared expert as one more; `groupedExperts` composes the routed part of it, same bits forward.
 * `denseExperts` computes the same without grouped kernels, every expert on every token: the fallback for a
 * backend that lacks them, and the equivalence test's other side.
 */
import {
  accumulateProduct,
  add,
  affine,
  call,
  customOp,
  freshGradBuffer,
  gradBuffer,
  type LowRank,
  lowRankSum,
  matmul,
  mul,
  slice,
  swiglu,
  type Tensor,
  tilesOf,
} from '@minke/tensor';
import type { Routing } from './gate.ts';

/** Weights of all routed experts of one layer, packed. */
export interface ExpertWeights {
  /** [E, F, D] */
  readonly gate: Tensor;
  /** [E, F, D] */
  readonly up: Tensor;
  /** [E, D, F] */
  readonly down: Tensor;
}

/** Low-rank additions to the weights of routed experts: a [E, r, in], b [E, out, r]. */
export type ExpertAdditions = { readonly [name in keyof ExpertWeights]?: LowRank | undefined };

/** The shared expert: one SwiGLU of width S for every token. */
export interface SharedExpertWeights {
  /** [S, D] */
  readonly gate: Tensor;
  /** [S, D] */
  readonly up: Tensor;
  /** [D, S] */
  readonly down: Tensor;
}

interface Plan {
  readonly offsets: Tensor;
  readonly rows: Tensor;
  readonly slots: Tensor;
}

const first = (tensors: Tensor[]): Tensor => tensors[0] as Tensor;

/** Copies each token to its K sorted rows: x [N, D] -> [N K, D]. */
function dispatch(x: Tensor, plan: Plan): Tensor {
  return first(
    customOp({
      inputs: [x],
      forward: () => call('gatherRows', [x, plan.rows], {}),
      backward: ([dy]) => {
        const ones = x.arena.full(plan.slots.shape, 1);
        return call('moeCombine', [dy as Tensor, ones, plan.slots], {});
      },
    }),
  );
}

/** y = x w[e]^T for the rows of each expert: x [R, K], w [E, N, K] -> [R, N]. */
export function groupedLinear(x: Tensor, w: Tensor, offsets: Tensor): Tensor {
  return first(
    customOp({
      inputs: [x, w],
      forward: () => call('groupedMatmul', [x, w, offsets], { transW: 1 }),
      backward: ([dy]) => {
        const dx = x.requiresGrad
          ? first(call('groupedMatmul', [dy as Tensor, w, offsets], { transW: 0 }))
          : null;
        if (w.requiresGrad) call('groupedMatmulGradWeight', [dy as Tensor, x, offsets, gradBuffer(w)], {});
        return [dx, null];
      },
    }),
  );
}

/** out[n] = sum over k of weights[n, k] y[slots[n, k]]: y [N K, D] -> [N, D]. */
function combine(y: Tensor, weights: Tensor, plan: Plan): Tensor {
  return first(
    customOp({
      inputs: [y, weights],
      forward: () => call('moeCombine', [y, weights, plan.slots], {}),
      backward: ([dout]) => call('moeCombineGrad', [y, weights, plan.slots, dout as Tensor], {}),
    }),
  );
}

function planOf(routing: Routing, weights: ExpertWeights): Plan {
  const experts = weights.gate.shape[0] as number;
  const [offsets, rows, slots] = call('expertPlan', [routing.indices], { experts }) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  return { offsets, rows, slots };
}

/** What `fusedExperts` runs on. */
export const fusedOps = [
  'expertPlan',
  'moeFeedForward',
  'moeFeedForwardGrad',
  'moeFeedForwardGradWeight',
] as const;

/**
 * Weighted sum of the chosen experts' SwiGLU, plus the shared expert's: x [N, D] -> [N, D]. Weights must be
 * parameters or without gradient. Keeps gate and up of each row for the backward pass.
 */
export function fusedExperts(
  x: Tensor,
  routing: Routing,
  weights: ExpertWeights,
  shared?: SharedExpertWeights,
): Tensor {
  const { arena } = x;
  const plan = planOf(routing, weights);
  const { offsets, rows, slots } = plan;
  const width = x.shape[1] as number;
  const none = shared ?? {
    gate: arena.empty([0, width]),
    up: arena.empty([0, width]),
    down: arena.empty([width, 0]),
  };
  const matrices = [weights.gate, weights.up, weights.down, none.gate, none.up, none.down];
  const keep = arena.recordsGradients;
  if (!keep) {
    const routed = matrices.slice(0, 3).map((w) => tilesOf(arena, w));
    const rounded = routed.every((t) => t !== undefined && t.dtype !== 'f32');
    const tiles = [
      ...routed,
      ...(shared === undefined
        ? emptyTiles(arena, width, rounded)
        : matrices.slice(3).map((w) => tilesOf(arena, w))),
    ].filter((t) => t !== undefined && (t.dtype !== 'f32') === rounded) as Tensor[];
    const op = rounded ? 'moeFeedForwardQuantized' : 'moeFeedForwardPacked';
    if (tiles.length === matrices.length)
      return first(call(op, [x, routing.weights, ...tiles, offsets, rows, slots], {}));
  }
  let saved: Tensor[] = [];
  return first(
    customOp({
      name: 'fusedExperts',
      inputs: [x, routing.weights, ...matrices],
      forward: () => {
        const [out, ...rest] = call(
          'moeFeedForward',
          [x, routing.weights, ...matrices, offsets, rows, slots],
          {},
        ) as [Tensor, ...Tensor[]];
        if (keep) saved = rest;
        else for (const t of rest) t.dispose();
        return [out];
      },
      backward: ([grad]) => {
        const dout = grad as Tensor;
        const [dx, dweights, dgates, dups, hidden, ...sharedParts] = call(
          'moeFeedForwardGrad',
          [routing.weights, ...matrices, offsets, rows, slots, ...saved, dout],
          {},
        ) as [Tensor, Tensor, Tensor, Tensor, Tensor, ...Tensor[]];
        accumulateRouted(x, dout, plan, [dgates, dups, hidden], weights);
        if (shared !== undefined) accumulateShared(x, dout, sharedParts, shared);
        return [dx, dweights, ...matrices.map(() => null)];
      },
    }),
  );
}

/** The packed forms of a shared expert of width 0. */
function emptyTiles(arena: Tensor['arena'], width: number, rounded: boolean): Tensor[] {
  const tiles = Math.ceil(width / 32);
  const [up, down] = rounded
    ? [() => arena.empty([0, width / 32, 1024], 'q8_0'), arena.empty([tiles, 0, 1024], 'q8_0')]
    : [() => arena.empty([0, width, 32]), arena.empty([tiles, 0, 32])];
  return [up(), up(), down];
}

/** Adds to the gradients of the packed weights. */
function accumulateRouted(
  x: Tensor,
  dout: Tensor,
  { offsets, rows }: Plan,
  [dgates, dups, hidden]: readonly [Tensor, Tensor, Tensor],
  { gate, up, down }: ExpertWeights,
): void {
  const matrices = [gate, up, down];
  if (matrices.every((w) => w.requiresGrad)) {
    const fresh = matrices.map(freshGradBuffer);
    const accumulate = fresh.every((buffer) => buffer !== null) ? 0 : 1;
    const buffers = fresh.map((buffer, i) => {
      if (buffer === null) return gradBuffer(matrices[i] as Tensor);
      if (accumulate) call('fill', [buffer], { value: 0 }, x.arena);
      return buffer;
    });
    call('moeFeedForwardGradWeight', [x, dout, offsets, rows, dgates, dups, hidden, ...buffers], {
      accumulate,
    });
    return;
  }
  const product = (w: Tensor, a: Tensor, b: Tensor) =>
    call('groupedMatmulGradWeight', [a, b, offsets, gradBuffer(w)], {});
  const sorted = (t: Tensor) => first(call('gatherRows', [t, rows], {}));
  if (gate.requiresGrad) product(gate, dgates, sorted(x));
  if (up.requiresGrad) product(up, dups, sorted(x));
  if (down.requiresGrad) product(down, sorted(dout), hidden);
}

function accumulateShared(
  x: Tensor,
  dout: Tensor,
  parts: readonly Tensor[],
  { gate, up, down }: SharedExpertWeights,
): void {
  const [dgates, dups, hidden] = parts as [Tensor, Tensor, Tensor];
  accumulateProduct(gate, dgates, x);
  accumulateProduct(up, dups, x);
  accumulateProduct(down, dout, hidden);
}

/** `groupedLinear` with w + scale b a for the weight of each expert. */
function addedLinear(x: Tensor, w: Tensor, addition: LowRank | undefined, offsets: Tensor): Tensor {
  const y = groupedLinear(x, w, offsets);
  if (addition === undefined) return y;
  const narrow = affine(groupedLinear(x, addition.a, offsets), addition.scale, 0);
  return add(y, groupedLinear(narrow, addition.b, offsets));
}

/** Weighted sum of the chosen experts' SwiGLU: x [N, D] -> [N, D]. */
export function groupedExperts(
  x: Tensor,
  routing: Routing,
  weights: ExpertWeights,
  additions: ExpertAdditions = {},
): Tensor {
  const plan = planOf(routing, weights);
  const product = (rows: Tensor, name: keyof ExpertWeights) =>
    addedLinear(rows, weights[name], additions[name], plan.offsets);
  const xs = dispatch(x, plan);
  const hidden = swiglu(product(xs, 'gate'), product(xs, 'up'));
  return combine(product(hidden, 'down'), routing.weights, plan);
}

/** The same sum with every expert applied to every token, E / K times the work of `groupedExperts`. */
export function denseExperts(
  x: Tensor,
  routing: Routing,
  weights: ExpertWeights,
  additions: ExpertAdditions = {},
): Tensor {
  const [experts, width, hiddenSize] = weights.gate.shape as readonly [number, number, number];
  const share = first(
    customOp({
      inputs: [routing.weights],
      forward: () => call('scatterLast', [routing.weights, routing.indices], { size: experts }),
      backward: ([dy]) => call('gatherLast', [dy as Tensor, routing.indices], {}),
    }),
  );
  const whole = (name: keyof ExpertWeights) => {
    const addition = additions[name];
    return addition ? lowRankSum(x.arena, weights[name], addition) : weights[name];
  };
  const [gates, ups, downs] = [whole('gate'), whole('up'), whole('down')];
  let out: Tensor | undefined;
  for (let e = 0; e < experts; e++) {
    const gate = gates.rows(e, e + 1).reshape([width, hiddenSize]);
    const up = ups.rows(e, e + 1).reshape([width, hiddenSize]);
    const down = downs.rows(e, e + 1).reshape([hiddenSize, width]);
    const hidden = swiglu(matmul(x, gate, { transB: true }), matmul(x, up, { transB: true }));
    const part = mul(matmul(hidden, down, { transB: true }), slice(share, 1, e, 1));
    out = out === undefined ? part : add(out, part);
  }
  return out as Tensor;
}
