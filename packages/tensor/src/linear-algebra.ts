/**
 * Matrix products. Gradients of leaves are added to their buffers by the product itself (`matmulInto`), or written
 * there when they are the first since the buffer was cleared.
 *
 * A bf16 tensor on the right, or `bf16: true` for a linear layer, rounds both sides to bf16 and sums in f32
 * (half the memory traffic, twice the speed where the processor has the instruction). Gradients: dx = dy w is
 * such a product too, dw = dy^T x is of f32 numbers. Backends without these ops multiply the rounded numbers.
 */
import { check, formatShape } from '@minke/core';
import { freshGradBuffer, gradBuffer, isLeaf, trackOne } from './autograd.ts';
import { call, callOne, flattened, homeOf, renamed } from './call.ts';
import { sumToShape } from './elementwise.ts';
import { tiledProduct, tilesOf } from './packed-product.ts';
import type { Tensor } from './tensor.ts';

/** `t` in another storage type, in the arena of its step; `t` itself where it has that type already. */
export function castTo(t: Tensor, to: 'f32' | 'bf16', arena = t.arena): Tensor {
  return t.dtype === to ? t : call('cast', [t], { to }, arena)[0]!;
}

/** `t` rounded to bf16, as f32. */
export function roundedToBf16(t: Tensor, arena = t.arena): Tensor {
  const narrow = castTo(t, 'bf16', arena);
  const wide = castTo(narrow, 'f32', arena);
  if (narrow !== t) narrow.dispose();
  return wide;
}

/** op(a) op(b) without gradient, by the storage type of b. */
export function plainProduct(a: Tensor, b: Tensor, transA: number, transB: number): Tensor {
  if (b.dtype !== 'bf16') return callOne('matmul', [a, b], { transA, transB });
  if (a.arena.backend.supports('matmulBf16')) return callOne('matmulBf16', [a, b], { transA, transB });
  const [x, w] = [roundedToBf16(a), castTo(b, 'f32', a.arena)];
  const c = callOne('matmul', [x, w], { transA, transB });
  x.dispose();
  w.dispose();
  return c;
}

/** op(a) op(b) as the gradient of `target`: added to its buffer, or returned. */
export function product(target: Tensor, a: Tensor, b: Tensor, transA: number, transB: number): Tensor | null {
  if (!target.requiresGrad) return null;
  if (!isLeaf(target)) return plainProduct(a, b, transA, transB);
  if (b.dtype === 'bf16') {
    const grad = plainProduct(a, b, transA, transB);
    call('accumulate', [grad, gradBuffer(target)], { scale: 1 });
    grad.dispose();
    return null;
  }
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
 * op(a) op(b), both of rank 2 or both of rank 3 (a batch); op transposes the last two axes. b may be bf16.
 *
 * @example
 * const scores = matmul(q, k, { transB: true }); // [H, T, P] x [H, S, P] -> [H, T, S]
 */
export function matmul(a: Tensor, b: Tensor, options: { transA?: boolean; transB?: boolean } = {}): Tensor {
  const transA = options.transA ? 1 : 0;
  const transB = options.transB ? 1 : 0;
  const c = plainProduct(a, b, transA, transB);
  // With transA the gradient of a has b on the left, where bf16 does not go.
  const left = () => (b.dtype === 'bf16' ? castTo(b, 'f32', c.arena) : b);
  return trackOne('matmul', [a, b], c, (dc) =>
    [
      transA ? a.requiresGrad && product(a, left(), dc, transB, 1) : product(a, dc, b, 0, 1 - transB),
      transB ? product(b, dc, a, 1, transA) : product(b, a, dc, 1 - transA, 0),
    ].map((grad) => grad || null),
  );
}

/**
 * x w^T + bias over the last axis: x [..., in], w [out, in], bias [out] -> [..., out].
 *
 * @param options with `bf16`, x and w are rounded to bf16 for the product and for dx; w stays f32. A w that is
 *   stored as bf16 is used as it is and gets no gradient, one in blocks (`quantizedWeight`) only where none is recorded.
 */
export function linear(
  x: Tensor,
  w: Tensor,
  bias?: Tensor,
  options: { readonly bf16?: boolean } = {},
): Tensor {
  const [outputs, inputs] = w.shape;
  check(
    w.rank === 2 && x.rank >= 1 && x.shape.at(-1) === inputs,
    () =>
      `linear: expected x [..., ${inputs}] for w ${formatShape(w.shape)} [out, in], got ${formatShape(x.shape)}`,
  );
  const x2 = flattened(x);
  const tiles = options.bf16 || x.arena.recordsGradients ? undefined : tilesOf(x.arena, w);
  const factor = options.bf16 ? castTo(w, 'bf16', x.arena.persistent ? w.arena : x.arena) : w;
  const xw = tiles ? tiledProduct(x2, tiles, outputs!) : plainProduct(x2, factor, 0, 1);
  const y = withBias(xw, bias);
  const result = x.rank === 2 ? y : renamed(y, [...x.shape.slice(0, -1), outputs!]);
  return trackOne('linear', bias ? [x, w, bias] : [x, w], result, (dy) => {
    const dy2 = flattened(dy);
    const dx = x.requiresGrad ? plainProduct(dy2, factor, 0, 0) : null;
    const grads = [dx && x.rank !== 2 ? renamed(dx, x.shape) : dx, product(w, dy2, x2, 1, 0)];
    if (bias) grads.push(bias.requiresGrad ? sumToShape(dy2, bias.shape) : null);
    return grads;
  });
}

/** y + bias, which takes the place of y. */
export function withBias(y: Tensor, bias: Tensor | undefined): Tensor {
  if (bias === undefined) return y;
  const sum = callOne('binary', [y, bias], { kind: 'add' });
  y.dispose();
  return sum;
}
