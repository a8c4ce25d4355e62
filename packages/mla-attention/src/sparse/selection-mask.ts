/** The choice of an indexer as numbers to add to scores. */
import { add, affine, call, type Tensor, topK } from '@minke/tensor';

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
