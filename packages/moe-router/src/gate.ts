/**
 * The gate: which experts a token uses, and with what weights.
 *
 * DeepSeek-V2 section 2.2.1-2.2.2 (softmax, group-limited), DeepSeek-V3 section 2.1.2 eq. 12-16 (sigmoid,
 * bias in the selection only, groups scored by their two best). Chosen experts are listed in ascending
 * order, so that outputs are always summed in the same order. Excluded groups count as -inf, never as 0: a
 * negative bias must not let an excluded expert win. Gradients flow through the weights, not the choice. One
 * fused op does it all but the product where the backend has it, with the bits of the ops it stands for.
 *
 * Routing replay (R3, arXiv 2510.11370) gives the choice from outside, usually that of the engine which sampled; the
 * weights are then the router's own for these experts.
 */
import {
  affine,
  call,
  customOp,
  div,
  gatherLast,
  linear,
  sigmoid,
  softmax,
  sum,
  type Tensor,
} from '@minke/tensor';
import type { MoeConfig } from './config.ts';

export interface Routing {
  /** Affinities [N, E] before any bias: softmax or sigmoid of the gate's logits. */
  readonly scores: Tensor;
  /** Chosen experts, i32 [N, K], ascending. */
  readonly indices: Tensor;
  /** Mixing weights [N, K], unbiased, scaled. */
  readonly weights: Tensor;
}

/**
 * Routes tokens.
 * @param x [N, D]
 * @param gateWeight [E, D]
 * @param bias correction bias [E], zeros unless the method is `noaux_tc`; takes part in the selection only
 * @param choices experts to use instead of selecting, i32 [N, K], ascending in each row
 */
export function route(
  x: Tensor,
  gateWeight: Tensor,
  bias: Tensor,
  config: MoeConfig,
  choices?: Tensor,
): Routing {
  const logits = linear(x, gateWeight);
  const selection = {
    k: config.topK,
    groups: config.groups,
    topGroups: config.topGroups,
    groupScore: config.method === 'noaux_tc' && config.experts / config.groups > 1 ? 'top2Sum' : 'max',
  } as const;
  const { backend } = x.arena;
  if (choices === undefined && backend.supports('route') && backend.supports('routeGrad')) {
    const { scoring, scalingFactor: scale } = config;
    const normalise = config.normTopK ? 1 : 0;
    const [scores, weights, indices] = customOp({
      name: 'route',
      inputs: [logits],
      forward: () => {
        const options = { scoring, ...selection, normalise, scale };
        const [scores, indices, weights] = call('route', [logits, bias], options) as [Tensor, Tensor, Tensor];
        return [scores, weights, indices];
      },
      backward: ([dscores, dweights], outputs) => {
        const [scores, , indices] = outputs as [Tensor, Tensor, Tensor];
        const none = (t: Tensor) => t.arena.zeros(t.shape);
        const grads = [dweights ?? none(indices), dscores ?? none(scores)];
        return call('routeGrad', [scores, indices, ...grads], { scoring, normalise, scale });
      },
    }) as [Tensor, Tensor, Tensor];
    return { scores, indices, weights };
  }
  const scores = config.scoring === 'softmax' ? softmax(logits) : sigmoid(logits);
  const indices = choices ?? (call('routeSelect', [scores, bias], selection) as [Tensor])[0];
  let weights = gatherLast(scores, indices);
  if (config.normTopK) {
    const total = affine(sum(weights, 1), 1, 1e-20).reshape([-1, 1]);
    weights = div(weights, total);
  }
  if (config.scalingFactor !== 1) weights = affine(weights, config.scalingFactor, 0);
  return { scores, indices, weights };
}

/** How often each expert was chosen: f32 [E] from indices i32 [N, K]. */
export function expertLoad(indices: Tensor, experts: number): Tensor {
  return (call('histogram', [indices], { size: experts }) as [Tensor])[0];
}
