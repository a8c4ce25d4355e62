/**
 * Scaled dot-product attention over ranges of key rows: the differentiable fused op and its composed form.
 *
 * Source: Vaswani et al., arXiv 1706.03762, section 3.2.1; the fused kernels keep only a log-sum-exp per query, as
 * in FlashAttention (arXiv 2205.14135). Sequences are packed: a query attends to a contiguous range of key rows,
 * so that ragged batches need no padding and no mask in memory. Causality is the caller's, in the ranges.
 */
import {
  add,
  affine,
  call,
  customOp,
  matmul,
  permute,
  repeat,
  slice,
  softmax,
  type Tensor,
} from '@minke/tensor';
import type { ExpandedCache } from './cache.ts';

/**
 * o[n, h] = sum over m in [ranges[n, 0], ranges[n, 1]) of softmax(scale q.k)[m] v[m, floor(h Hk / H)]; zeros for an
 * empty range. Differentiable in q, k and v.
 * @param q [N, H, C]; @param k [M, Hk, C], H a multiple of Hk; @param v [M, Hk, W]; @param ranges i32 [N, 2]
 * @returns [N, H, W]
 *
 * @example
 * const o = attention(q, k, v, packSequences(arena, [5, 9]).ranges, { scale: 64 ** -0.5 });
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  ranges: Tensor,
  { scale }: { scale: number },
): Tensor {
  const { backend } = q.arena;
  const needsGradient = q.arena.recordsGradients && (q.requiresGrad || k.requiresGrad || v.requiresGrad);
  const fused = backend.supports('attention') && (!needsGradient || backend.supports('attentionGrad'));
  if (!fused) return composedAttention(q, k, v, ranges, scale);
  return customOp({
    inputs: [q, k, v],
    forward: () => call('attention', [q, k, v, ranges], { scale }),
    backward: ([dOut], [o, lse]) => {
      if (!dOut) return [null, null, null];
      return call('attentionGrad', [q, k, v, ranges, o as Tensor, lse as Tensor, dOut], { scale });
    },
  })[0] as Tensor;
}

/**
 * `attention` to what a cache holds, without gradient: `ranges` as the cache's `append` made them. With four numbers a
 * query its rows are those of two ranges, one after the other: a beginning that sequences share, and their own.
 * @param q [N, H, keyWidth], H a multiple of the cache's heads; @param ranges i32 [N, 2] or, of f32 rows, [N, 4]
 * @returns [N, H, valueWidth]
 */
export function cachedAttention(
  q: Tensor,
  cache: ExpandedCache,
  layer: number,
  ranges: Tensor,
  { scale }: { scale: number },
): Tensor {
  const { heads, keyWidth, valueWidth } = cache;
  const [keys, values] = [cache.keys(layer), cache.values(layer)];
  if (cache.cacheType !== 'f32') {
    const attributes = { scale, keyHeads: heads, valueWidth };
    return call('attentionRounded', [q, keys, values, ranges], attributes)[0] as Tensor;
  }
  const k = keys.reshape([-1, heads, keyWidth]);
  const v = values.reshape([-1, heads, valueWidth]);
  if (ranges.shape[1] === 2) return attention(q, k, v, ranges, { scale });
  return call('prefixedAttention', [q, k, v, ranges], { scale })[0] as Tensor;
}

/**
 * Attention in the absorbed form: every head attends to the same rows, whose first `valueWidth` entries are also
 * the values (the latent), and whose other entries take part in the scores only (the rotary key).
 * Differentiable in q and keys, which may be in bf16 or q8_0 where no gradient is recorded, on backends that have that.
 * @param q [N, H, C]; @param keys [M, C]; @param ranges i32 [N, 2]
 * @param options `bfloat` rounds the factors of its products to bf16 where keys are rounded, too
 * @returns [N, H, valueWidth]
 */
export function latentAttention(
  q: Tensor,
  keys: Tensor,
  ranges: Tensor,
  {
    scale,
    valueWidth,
    bfloat = false,
  }: { readonly scale: number; readonly valueWidth: number; readonly bfloat?: boolean },
): Tensor {
  if (keys.dtype !== 'f32') {
    const attributes = { scale, valueWidth, bfloat: Number(bfloat) };
    return call('latentAttentionRounded', [q, keys, ranges], attributes)[0] as Tensor;
  }
  const needsGradient = q.arena.recordsGradients && (q.requiresGrad || keys.requiresGrad);
  if (!needsGradient && q.arena.backend.supports('latentAttention')) {
    return call('latentAttention', [q, keys, ranges], { scale, valueWidth })[0] as Tensor;
  }
  const [rows, width] = keys.shape as readonly [number, number];
  const shared = q.arena.adopt(keys);
  const values = slice(shared, 1, 0, valueWidth).reshape([rows, 1, valueWidth]);
  return attention(q, shared.reshape([rows, 1, width]), values, ranges, { scale });
}

/** Attention from general ops: softmax(scale q k^T + mask) v, head by head. */
function composedAttention(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor, scale: number): Tensor {
  const heads = q.shape[1] as number;
  const size = k.shape[0] as number;
  const mask = call('rangeMask', [ranges], { size })[0] as Tensor;
  const scores = affine(matmul(permute(q, [1, 0, 2]), headsFirst(k, heads, q), { transB: true }), scale, 0);
  return permute(matmul(softmax(add(scores, mask)), headsFirst(v, heads, q)), [1, 0, 2]);
}

/** [M, Hk, C] -> [H, M, C], each key head repeated for its query heads. */
export function headsFirst(x: Tensor, heads: number, q: Tensor): Tensor {
  const [rows, keyHeads, width] = x.shape as readonly [number, number, number];
  const byHead = permute(q.arena.adopt(x), [1, 0, 2]);
  if (heads === keyHeads) return byHead;
  const group = heads / keyHeads;
  return repeat(byHead.reshape([keyHeads, 1, rows * width]), 1, group).reshape([heads, rows, width]);
}
