/**
 * Matrix products. Gradients of leaves are added to their buffers by the product itself (`matmulInto`), or written
 * there when they are the first since the buffer was cleared.
 */
import { check, formatShape } from '@minke/core';
import { freshGradBuffer, gradBuffer, isLeaf, trackOne } from './autograd.ts';
import { call, callOne, flattened, homeOf, renamed } from './call.ts';
import { sumToShape } from './elementwise.ts';
import type { Tensor } from './tensor.ts';

/** op(a) op(b) as the gradient of `target`: added to its buffer, or returned. */
export function product(target: Tensor, a: Tensor, b: Tensor, transA: number, transB: number): Tensor | null {
  if (!target.requiresGrad) return null;
  if (!isLeaf(target)) return callOne('matmul', [a, b], { transA, transB });
  const fresh = freshGradBuffer(target);
  if (fresh) homeOf('matmul', [a, b]).run('matmul', [a, b], { transA, transB }, [fresh]);
  else call('matmulInto', [a, b, gradBuffer(target)], { transA, transB });
  return null;
}

/**
 * Adds a^T b to the gradient of parameter `w`: dy [N, out], x [N, in] for w [out, in]. Nothing for a `w` without
 * gradient. For operations with their own backward pass.
 */
export function accumulateProduct(w: Tensor, a: Tensor, b: Tensor): void {
  if (w.requiresGrad) product(w, a, b, 1, 0);
}

/**
 * op(a) op(b), both of rank 2 or both of rank 3 (a batch); op transposes the last two axes.
 *
 * @example
 * const scores = matmul(q, k, { transB: true }); // [H, T, P] x [H, S, P] -> [H, T, S]
 */
export function matmul(a: Tensor, b: Tensor, options: { transA?: boolean; transB?: boolean } = {}): Tensor {
  const transA = options.transA ? 1 : 0;
  const transB = options.transB ? 1 : 0;
  const c = callOne('matmul', [a, b], { transA, transB });
  return trackOne('matmul', [a, b], c, (dc) => [
    transA ? product(a, b, dc, transB, 1) : product(a, dc, b, 0, 1 - transB),
    transB ? product(b, dc, a, 1, transA) : product(b, a, dc, 1 - transA, 0),
  ]);
}

/** x w^T + bias over the last axis: x [..., in], w [out, in], bias [out] -> [..., out]. */
export function linear(x: Tensor, w: Tensor, bias?: Tensor): Tensor {
  const [outputs, inputs] = w.shape;
  check(
    w.rank === 2 && x.rank >= 1 && x.shape.at(-1) === inputs,
    () =>
      `linear: expected x [..., ${inputs}] for w ${formatShape(w.shape)} [out, in], got ${formatShape(x.shape)}`,
  );
  const x2 = flattened(x);
  let y = callOne('matmul', [x2, w], { transA: 0, transB: 1 });
  if (bias) {
    const sum = callOne('binary', [y, bias], { kind: 'add' });
    y.dispose();
    y = sum;
  }
  if (x.rank !== 2) y = renamed(y, [...x.shape.slice(0, -1), outputs!]);
  return trackOne('linear', bias ? [x, w, bias] : [x, w], y, (dy) => {
    const dy2 = flattened(dy);
    const dx = x.requiresGrad ? callOne('matmul', [dy2, w], { transA: 0, transB: 0 }) : null;
    const grads = [dx && x.rank !== 2 ? renamed(dx, x.shape) : dx, product(w, dy2, x2, 1, 0)];
    if (bias) grads.push(bias.requiresGrad ? sumToShape(dy2, bias.shape) : null);
    return grads;
  });
}
