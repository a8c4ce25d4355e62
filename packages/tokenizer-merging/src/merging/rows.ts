/**
 * Rows of tensors by index: sums of segments, and choice between two sources, with gradients.
 */
import { type Arena, call, concat, customOp, gatherRows, type Tensor } from '@minke/tensor';

/** i32 numbers on the device. */
export function indices(arena: Arena, ids: ArrayLike<number>): Tensor {
  return arena.tensor(ids, [ids.length], 'i32');
}

/** Rows `ids` of a table [V, D], which may be persistent; zeros for -1. */
export function takeRows(table: Tensor, ids: ArrayLike<number>, arena: Arena = table.arena): Tensor {
  return gatherRows(table, indices(arena, ids));
}

/** y[s] = sum of x[n] with ids[n] = s, over ascending n: x [N, D] -> [segments, D]; rows with -1 are left out. */
export function segmentSum(x: Tensor, ids: ArrayLike<number>, segments: number): Tensor {
  const { arena } = x;
  const rows = indices(arena, ids);
  return customOp({
    name: 'segmentSum',
    inputs: [x],
    forward: () => {
      const sums = arena.zeros([segments, x.shape[1] as number]);
      call('scatterAddRows', [x, rows, sums], {});
      return [sums];
    },
    backward: ([dy]) => call('gatherRows', [dy as Tensor, rows], {}),
  })[0] as Tensor;
}

/** Row n of `a` where `first[n]`, else row n of `b`: a choice, not arithmetic, so the bits stay. */
export function chooseRows(first: ArrayLike<number>, a: Tensor, b: Tensor): Tensor {
  return takeRows(
    concat([a, b], 0),
    Array.from(first, (isFirst, n) => (isFirst ? n : first.length + n)),
  );
}

/** A column [N, 1] of host numbers. */
export function column(arena: Arena, numbers: ArrayLike<number>): Tensor {
  return arena.tensor(numbers, [numbers.length, 1]);
}
