/**
 * Attention in the absorbed form to rows of a cache that each query names, in one op or from general ones: what sparse
 * attention selects (DeepSeek-V3.2), and what a ring of latents holds of a window.
 */
import {
  add,
  affine,
  call,
  clamp,
  concat,
  gatherRows,
  matmul,
  repeat,
  slice,
  softmax,
  type Tensor,
} from '@minke/tensor';

/**
 * Without gradient; f32.
 * @param q [N, H, C]; @param cache [M, C], whose first `valueWidth` entries are also the values
 * @param rows i32 [N, K], -1 for none
 * @param options.sink score of each head without a value, [H]; default none
 * @returns [N, H, valueWidth]
 */
export function gatheredAttention(
  q: Tensor,
  cache: Tensor,
  rows: Tensor,
  { scale, valueWidth, sink }: { scale: number; valueWidth: number; sink?: Tensor },
): Tensor {
  if (!q.arena.backend.supports('gatheredAttention'))
    return composedGathered(q, cache, rows, scale, valueWidth, sink);
  const none = sink ?? q.arena.full([q.shape[1] as number], Number.NEGATIVE_INFINITY);
  return call('gatheredAttention', [q, cache, rows, none], { scale, valueWidth })[0] as Tensor;
}

function composedGathered(
  q: Tensor,
  cache: Tensor,
  rows: Tensor,
  scale: number,
  valueWidth: number,
  sink: Tensor | undefined,
): Tensor {
  const { arena } = q;
  const [queries, heads] = q.shape as readonly [number, number];
  const [size, width] = cache.shape as readonly [number, number];
  const count = rows.shape[1] as number;
  const ids = rows.reshape([queries * count]);
  const keys = gatherRows(arena.adopt(cache), ids).reshape([queries, count, width]);
  // A row that is not there is gathered as zero.
  const there = affine(gatherRows(arena.full([size, 1], 1), ids), 1e30, -1e30).reshape([queries, 1, count]);
  const mask = repeat(there, 1, heads);
  const scores = add(affine(matmul(q, keys, { transB: true }), scale, 0), mask);
  const values = slice(keys, 2, 0, valueWidth);
  if (sink === undefined) return matmul(softmax(scores), values);
  const column = repeat(arena.adopt(sink).reshape([1, heads]), 0, queries).reshape([queries, heads, 1]);
  const p = softmax(concat([scores, clamp(column, -1e30, 1e30)], 2));
  return matmul(slice(p, 2, 0, count), values);
}
