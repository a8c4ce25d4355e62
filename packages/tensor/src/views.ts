/**
 * Views: tensors on the memory of others, with gradients.
 *
 * A view of a leaf is a leaf itself whose gradient is the same part of the parameter's, so nothing is
 * recorded for it.
 */
import { check, elementCount, formatShape, type Shape } from '@minke/core';
import { track } from './autograd.ts';
import { callOne } from './call.ts';
import type { Tensor } from './tensor.ts';

function viewOf(
  t: Tensor,
  op: string,
  shape: Shape,
  offset: number,
  backward: (dy: Tensor) => Tensor,
): Tensor {
  const view = t.arena.view(t, shape, offset);
  if (t.leaf !== null) view.leaf = t.leaf;
  else track(op, [t], [view], ([dy]) => [backward(dy!)]);
  return view;
}

/** See `Tensor.reshape`. */
export function reshape(t: Tensor, shape: Shape): Tensor {
  t.assertLive('reshape');
  const known = shape.reduce((count, size) => (size === -1 ? count : count * size), 1);
  const sizes =
    shape.includes(-1) && known > 0 ? shape.map((size) => (size === -1 ? t.size / known : size)) : shape;
  check(
    sizes.every((size) => Number.isInteger(size) && size >= 0) && elementCount(sizes) === t.size,
    () =>
      `reshape: expected a shape of ${t.size} elements with at most one -1, got ${formatShape(shape)} for ${formatShape(t.shape)}`,
  );
  return viewOf(t, 'reshape', sizes, 0, (dy) => dy.arena.view(dy, t.shape, 0));
}

/** See `Tensor.rows`. */
export function rows(t: Tensor, start: number, end: number): Tensor {
  t.assertLive('rows');
  const count = t.shape[0] ?? 0;
  check(
    t.rank > 0 &&
      Number.isInteger(start) &&
      Number.isInteger(end) &&
      start >= 0 &&
      start <= end &&
      end <= count,
    () =>
      `rows: expected 0 <= start <= end <= ${count} rows of ${formatShape(t.shape)}, got ${start} to ${end}`,
  );
  const rest = t.shape.slice(1);
  return viewOf(t, 'rows', [end - start, ...rest], start * elementCount(rest), (dy) =>
    callOne('place', [dy], { axis: 0, start, size: count }),
  );
}
