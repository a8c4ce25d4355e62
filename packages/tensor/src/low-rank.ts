/**
 * A low-rank addition to a weight: w + scale b a, with narrow a and b that are trained while w is not.
 *
 * LoRA, Hu et al. 2021 (https://arxiv.org/abs/2106.09685), section 4.1. The product with w stays as it is and the
 * narrow products are added to it in place, so with b = 0 the numbers are those of w alone, to the bit, and w can be
 * shared by several adapters. Gradients of a and b are products with r columns: none has the size of w.
 */
import { check, formatShape } from '@minke/core';
import type { Arena } from './arena.ts';
import { customOp } from './autograd.ts';
import { call, flattened, renamed } from './call.ts';
import { add, affine, sumToShape } from './elementwise.ts';
import { linear, matmul, plainProduct, product } from './linear-algebra.ts';
import type { Tensor } from './tensor.ts';

/** Of a weight [out, in], or of packed weights [experts, out, in]. */
export interface LowRank {
  /** [r, in] or [experts, r, in] */
  readonly a: Tensor;
  /** [out, r] or [experts, out, r] */
  readonly b: Tensor;
  /** What b a is multiplied by: alpha / r. */
  readonly scale: number;
}

/**
 * x (w + scale b a)^T + bias over the last axis: x [..., in], w [out, in] -> [..., out]. Without an addition it is
 * `linear`.
 *
 * @example
 * const y = lowRankLinear(x, weight, { a, b, scale: alpha / r });
 */
export function lowRankLinear(x: Tensor, w: Tensor, addition: LowRank | undefined, bias?: Tensor): Tensor {
  if (addition === undefined) return linear(x, w, bias);
  const { a, b, scale } = addition;
  const [outputs, inputs] = w.shape;
  check(
    w.rank === 2 && a.rank === 2 && a.shape[1] === inputs && b.shape.join() === `${outputs},${a.shape[0]}`,
    () =>
      `lowRankLinear: expected a [r, ${inputs}] and b [${outputs}, r] for w ${formatShape(w.shape)}, got ${formatShape(a.shape)} and ${formatShape(b.shape)}`,
  );
  const x2 = flattened(x);
  const keep = x.arena.recordsGradients;
  let scaled: Tensor;
  const [y] = customOp({
    name: 'lowRankLinear',
    inputs: bias ? [x, w, a, b, bias] : [x, w, a, b],
    forward: () => {
      const y = linear(x2, w, bias);
      scaled = affine(linear(x2, a), scale, 0);
      call('matmulInto', [scaled, b, y], { transA: 0, transB: 1 });
      if (!keep) scaled.dispose();
      return [x.rank === 2 ? y : renamed(y, [...x.shape.slice(0, -1), outputs!])];
    },
    backward: ([dy]) => {
      const dy2 = flattened(dy!);
      const narrow = affine(plainProduct(dy2, b, 0, 0), scale, 0);
      const dx = x.requiresGrad ? plainProduct(dy2, w, 0, 0) : null;
      if (dx) call('matmulInto', [narrow, a, dx], { transA: 0, transB: 0 });
      return [
        dx && x.rank !== 2 ? renamed(dx, x.shape) : dx,
        product(w, dy2, x2, 1, 0),
        product(a, narrow, x2, 1, 0),
        product(b, dy2, scaled, 1, 0),
        ...(bias ? [bias.requiresGrad ? sumToShape(dy2, bias.shape) : null] : []),
      ];
    },
  });
  return y!;
}

/**
 * w + scale b a in the arena of a step, for products that take the weight itself. Differentiable.
 * @param w [out, in] or [experts, out, in]
 */
export function lowRankSum(arena: Arena, w: Tensor, { a, b, scale }: LowRank): Tensor {
  return add(arena.adopt(w), affine(matmul(arena.adopt(b), arena.adopt(a)), scale, 0));
}
