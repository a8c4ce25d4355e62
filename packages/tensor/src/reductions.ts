/**
 * Sums, means, maxima and the softmax family, which run in a fixed order on every backend.
 */
import { trackOne } from './autograd.ts';
import { borrow, callOne, renamed, resolveAxis } from './call.ts';
import { clamp, div, exp, log, sub } from './elementwise.ts';
import type { Tensor } from './tensor.ts';

function reduce(kind: 'sum' | 'mean', x: Tensor, axis: number | undefined): Tensor {
  const folded = axis === undefined ? borrow(x, [x.size]) : x;
  const a = axis === undefined ? 0 : resolveAxis(kind, x, axis);
  const count = folded.shape[a]!;
  const y = callOne('reduce', [folded], { kind, axis: a });
  return trackOne(kind, [x], y, (dy) => {
    const column = borrow(
      dy,
      folded.shape.map((size, i) => (i === a ? 1 : size)),
    );
    const scaled =
      kind === 'mean'
        ? callOne('unary', [column], { kind: 'affine', a: 1 / Math.max(count, 1), b: 0 })
        : column;
    return [renamed(callOne('repeat', [scaled], { axis: a, count }), x.shape)];
  });
}

/** Sum over `axis`, which is removed; over everything, to shape [], without it. */
export const sum = (x: Tensor, axis?: number): Tensor => reduce('sum', x, axis);

/** Mean over `axis`, which is removed; over everything, to shape [], without it. */
export const mean = (x: Tensor, axis?: number): Tensor => reduce('mean', x, axis);

/** Largest number along `axis`, which is removed. No gradient. */
export function max(x: Tensor, axis: number): Tensor {
  return callOne('reduce', [x], { kind: 'max', axis: resolveAxis('max', x, axis) });
}

/** exp(x - max) / sum over the last axis; a row of only -inf gives zeros. */
export function softmax(x: Tensor): Tensor {
  return softmaxOf('softmax', x);
}

/** Logarithm of `softmax`. */
export function logSoftmax(x: Tensor): Tensor {
  return softmaxOf('log', x);
}

function softmaxOf(kind: 'softmax' | 'log', x: Tensor): Tensor {
  const { backend } = x.arena;
  if (!backend.supports('softmax') || !backend.supports('softmaxGrad')) return composedSoftmax(kind, x);
  const y = callOne('softmax', [x], { kind });
  return trackOne('softmax', [x], y, (dy) => [callOne('softmaxGrad', [y, dy], { kind })]);
}

/** Largest magnitude that both f32 and f64 hold: keeps -inf - max finite in rows of only -inf. */
const LIMIT = 3.4e38;
/** Below any sum of exponentials that has its maximum in it, which is at least 1. */
const LEAST_SUM = 1e-30;

function composedSoftmax(kind: 'softmax' | 'log', x: Tensor): Tensor {
  const axis = resolveAxis('softmax', x, -1);
  const column = [...x.shape.slice(0, -1), 1];
  const top = clamp(max(x, axis), -LIMIT, LIMIT).detach().reshape(column);
  const shifted = sub(x, top);
  const exponentials = exp(shifted);
  const total = clamp(sum(exponentials, axis), LEAST_SUM, Number.POSITIVE_INFINITY).reshape(column);
  return kind === 'softmax' ? div(exponentials, total) : sub(shifted, log(total));
}
