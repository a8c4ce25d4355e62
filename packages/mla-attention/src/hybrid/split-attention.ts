/**
 * One softmax over near and far keys with a bias on the far scores and a sink: differentiable, fused or composed.
 *
 * With near and far log-sum-exps l and f of separate attentions, this is their mix with weights e^l, e^(f + bias) and
 * e^sink: bias 0 is full attention (bit for bit), bias -infinity the window alone. The gradient of a sink is that of a
 * score whose value is zero.
 */
import { check } from '@minke/core';
import {
  add,
  affine,
  call,
  clamp,
  concat,
  customOp,
  exp,
  matmul,
  mul,
  neg,
  permute,
  repeat,
  slice,
  softmax,
  sub,
  sum,
  type Tensor,
} from '@minke/tensor';
import { headsFirst } from '../attention.ts';
import type { SplitRanges } from './window-rows.ts';

export interface SplitOptions {
  readonly scale: number;
  /** Added to the scores of far keys, [N, H]. Default 0. */
  readonly bias?: Tensor;
  /** Score of the sink, [H]. Default none. */
  readonly sink?: Tensor;
  /** Entries of v that are the value, where there is one key head. Default all. */
  readonly valueWidth?: number;
}

/**
 * @param q [N, H, C]; @param k [M, Hk, C]; @param v [M, Hk, W]; @param ranges numbers [low, first, near, end] a query
 * @returns [N, H, valueWidth]
 *
 * @example
 * const ranges = splitRanges(arena, splitNumbers(placedTokens(batch), 'hybrid', 1024));
 * const o = splitAttention(q, k, v, ranges, { scale: 64 ** -0.5, bias, sink });
 */
export function splitAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  ranges: SplitRanges,
  options: SplitOptions,
): Tensor {
  const [rows, heads] = q.shape as readonly [number, number];
  const { scale, valueWidth = v.shape[2] as number } = options;
  const { arena } = q;
  const needsGradient =
    arena.recordsGradients && [q, k, v, options.bias, options.sink].some((t) => t?.requiresGrad);
  if (ranges.visible !== null || !arena.backend.supports('splitAttention')) {
    check(
      ranges.visible !== null,
      () => 'splitAttention: expected ranges made in an arena of this backend, got others',
    );
    return composed(q, k, v, ranges, options, valueWidth);
  }
  const bias = options.bias ?? arena.zeros([rows, heads]);
  const sink = options.sink ?? arena.full([heads], Number.NEGATIVE_INFINITY);
  const forward = (values: Tensor) =>
    call('splitAttention', [q, k, values, ranges.parts, bias, sink], {
      scale,
      valueWidth: values === v ? valueWidth : (values.shape[2] as number),
    });
  if (!needsGradient) return forward(v)[0] as Tensor;
  // The gradient wants values of their own width.
  const values = valueWidth === v.shape[2] ? v : slice(arena.adopt(v), 2, 0, valueWidth);
  return customOp({
    name: 'splitAttention',
    inputs: [q, k, values, bias, sink],
    forward: () => call('splitAttention', [q, k, values, ranges.parts, bias, sink], { scale, valueWidth }),
    backward: ([dOut], [o, lse]) => {
      if (!dOut) return [null, null, null, null, null];
      const saved = [q, k, values, ranges.parts, bias, o as Tensor, lse as Tensor, dOut] as const;
      const [dq, dk, dv, dbias] = call('splitAttentionGrad', [...saved], { scale });
      const dsink = sink.requiresGrad ? sinkGradient(sink, o as Tensor, lse as Tensor, dOut) : null;
      return [dq, dk, dv, dbias, dsink];
    },
  })[0] as Tensor;
}

/** -sum over n of e^(sink - lse[n]) dOut[n] . o[n]: [H]. */
function sinkGradient(sink: Tensor, o: Tensor, lse: Tensor, dOut: Tensor): Tensor {
  const weight = exp(neg(sub(lse, sink)));
  return neg(sum(mul(weight, sum(mul(dOut, o), 2)), 0));
}

/** The same from general ops. */
function composed(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  ranges: SplitRanges,
  { scale, bias, sink }: SplitOptions,
  valueWidth: number,
): Tensor {
  const [rows, heads] = q.shape as readonly [number, number];
  const size = k.shape[0] as number;
  const mask = call('rangeMask', [ranges.visible as Tensor], { size })[0] as Tensor;
  let scores = affine(matmul(permute(q, [1, 0, 2]), headsFirst(k, heads, q), { transB: true }), scale, 0);
  if (bias !== undefined) {
    const far = exp(call('rangeMask', [ranges.far as Tensor], { size })[0] as Tensor);
    const everyHead = repeat(far.reshape([1, rows * size]), 0, heads).reshape([heads, rows, size]);
    const finite = clamp(permute(bias, [1, 0]), -1e30, 1e30).reshape([heads, rows, 1]);
    scores = add(scores, mul(everyHead, finite));
  }
  scores = add(scores, mask);
  const values = headsFirst(slice(q.arena.adopt(v), 2, 0, valueWidth), heads, q);
  if (sink === undefined) return permute(matmul(softmax(scores), values), [1, 0, 2]);
  const column = repeat(q.arena.adopt(sink).reshape([heads, 1]), 1, rows).reshape([heads, rows, 1]);
  const p = slice(softmax(concat([scores, clamp(column, -1e30, 1e30)], 2)), 2, 0, size);
  return permute(matmul(p, values), [1, 0, 2]);
}
