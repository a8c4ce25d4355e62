/** Choices of the largest scores: as indices, and as numbers to add to scores. */
import { add, affine, call, clamp, concat, mul, type Tensor, topK } from '@minke/tensor';

/**
 * Columns of the `most` largest numbers of each row, i32 [N, most], then -1 where fewer are above -infinity; ascending
 * where the backend has the op, else by descending number; of equal numbers the first ones. Without gradient.
 */
export function selectLargest(scores: Tensor, most: number): Tensor {
  const { arena } = scores;
  return arena.withoutGrad(() => {
    if (arena.backend.supports('selectLargest'))
      return call('selectLargest', [scores], { k: most })[0] as Tensor;
    const [rows, size] = scores.shape as readonly [number, number];
    const count = Math.min(most, size);
    const none = arena.full([rows, most - count], -1);
    if (count === 0) return call('cast', [none], { to: 'i32' })[0] as Tensor;
    const { values, indices } = topK(scores, count);
    // 1 for finite scores, 0 for -infinity.
    const there = clamp(affine(values, 1, 1e30), 0, 1);
    const places = affine(call('cast', [indices], { to: 'f32' })[0] as Tensor, 1, 1);
    const named = affine(mul(places, there), 1, -1);
    return call('cast', [count < most ? concat([named, none], 1) : named], { to: 'i32' })[0] as Tensor;
  });
}

/**
 * 0 for the columns with the `most` largest scores among the visible ones, else -1e30 or less. Without gradient.
 * @param scores [N, M]; @param visible [N, M], 0 where a query may look and very negative elsewhere
 */
export function selectionMask(scores: Tensor, visible: Tensor, most: number): Tensor {
  const { arena } = scores;
  return arena.withoutGrad(() => {
    const [rows, size] = scores.shape as readonly [number, number];
    const count = Math.min(most, size);
    if (count === size) return visible;
    const { indices } = topK(add(scores, visible), count);
    const chosen = call('scatterLast', [arena.full([rows, count], 1), indices], { size })[0] as Tensor;
    return add(affine(chosen, 1e30, -1e30), visible);
  });
}
