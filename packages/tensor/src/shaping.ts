/**
 * Moving numbers: permutation, slices, concatenation, repetition, gathering and scattering by index.
 */
import { check, formatShape, sameShape } from '@minke/core';
import { gradBuffer, isLeaf, track, trackOne } from './autograd.ts';
import { borrow, call, callOne, homeOf, resolveAxis } from './call.ts';
import type { Tensor } from './tensor.ts';

const permuteAttributes = (axes: readonly number[]) => ({
  p0: axes[0] ?? 0,
  p1: axes[1] ?? 1,
  p2: axes[2] ?? 2,
  p3: axes[3] ?? 3,
});

/** Axis j of the result is axis `axes[j]` of x; up to rank 4. */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  check(
    axes.length === x.rank,
    () => `permute: expected ${x.rank} axes for ${formatShape(x.shape)}, got [${axes.join(', ')}]`,
  );
  const y = callOne('permute', [x], permuteAttributes(axes));
  const inverse = axes.map((_, i) => axes.indexOf(i));
  return trackOne('permute', [x], y, (dy) => [callOne('permute', [dy], permuteAttributes(inverse))]);
}

/** x[..., start : start + size, ...] on `axis`, as a copy. On axis 0, `x.rows` needs none. */
export function slice(x: Tensor, axis: number, start: number, size: number): Tensor {
  const a = resolveAxis('slice', x, axis);
  const y = callOne('slice', [x], { axis: a, start, size });
  return trackOne('slice', [x], y, (dy) => [callOne('place', [dy], { axis: a, start, size: x.shape[a]! })]);
}

/** Tensors joined along `axis`. On axis 0 any type, elsewhere f32. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const first = parts[0];
  check(first !== undefined, () => 'concat: expected at least one tensor, got none');
  const a = resolveAxis('concat', first, axis);
  const others = (t: Tensor) => t.shape.filter((_, i) => i !== a);
  check(
    parts.every(
      (t) => t.rank === first.rank && t.dtype === first.dtype && sameShape(others(t), others(first)),
    ),
    () =>
      `concat: expected one type and equal sizes off axis ${a}, got ${parts.map((t) => formatShape(t.shape)).join(', ')}`,
  );
  const y = a === 0 ? concatRows(parts) : concatTree(parts, a);
  return trackOne('concat', parts, y, (dy) => {
    let start = 0;
    return parts.map((part) => {
      const size = part.shape[a]!;
      const begin = start;
      start += size;
      if (!part.requiresGrad) return null;
      return a === 0 ? dy.rows(begin, begin + size) : callOne('slice', [dy], { axis: a, start: begin, size });
    });
  });
}

function concatRows(parts: readonly Tensor[]): Tensor {
  const arena = homeOf('concat', parts);
  const count = parts.reduce((sum, part) => sum + part.shape[0]!, 0);
  const y = arena.empty([count, ...parts[0]!.shape.slice(1)], parts[0]!.dtype);
  let offset = 0;
  for (const part of parts) {
    call('copyInto', [part, borrow(y, part.shape, offset)], {}, arena);
    offset += part.size;
  }
  return y;
}

/** Pairs, then pairs of pairs: each number is copied once a level. */
function concatTree(parts: readonly Tensor[], axis: number): Tensor {
  const arena = homeOf('concat', parts);
  const join = (from: number, to: number): Tensor => {
    if (to - from === 1) return parts[from]!;
    const middle = (from + to) >> 1;
    const [a, b] = [join(from, middle), join(middle, to)];
    const [y] = call('concat', [a, b], { axis }, arena);
    if (middle - from > 1) a.dispose();
    if (to - middle > 1) b.dispose();
    return y!;
  };
  return parts.length === 1 ? arena.view(parts[0]!, parts[0]!.shape, 0) : join(0, parts.length);
}

/** x repeated `count` times along an axis of size 1. */
export function repeat(x: Tensor, axis: number, count: number): Tensor {
  const a = resolveAxis('repeat', x, axis);
  const y = callOne('repeat', [x], { axis: a, count });
  return trackOne('repeat', [x], y, (dy) => {
    const dx = callOne('reduce', [dy], { kind: 'sum', axis: a });
    return [dx.arena.view(dx, x.shape, 0)];
  });
}

/**
 * table[ids[n]] in f32: table [V, D], ids i32 [N] -> [N, D]; zeros where an id is out of range. A table of bf16, f16 or
 * blocks (`quantizedWeight`) is widened without error, and has no gradient.
 */
export function gatherRows(table: Tensor, ids: Tensor): Tensor {
  if (table.storage.stands && table.rank === 2) {
    const tiles = (table.lookupTiles ?? table.tiles) as Tensor;
    return callOne('gatherRowsQuantized', [tiles, ids], { columns: table.shape[0]! });
  }
  const y = callOne('gatherRows', [table, ids], {});
  return trackOne('gatherRows', [table, ids], y, (dy) => {
    const dtable = isLeaf(table) ? gradBuffer(table) : dy.arena.zeros(table.shape);
    call('scatterAddRows', [dy, ids, dtable], {});
    return [isLeaf(table) ? null : dtable, null];
  });
}

/** x[n, indices[n, k]]: x [N, C], indices i32 [N, K] -> [N, K]; zero out of range. */
export function gatherLast(x: Tensor, indices: Tensor): Tensor {
  const y = callOne('gatherLast', [x, indices], {});
  return trackOne('gatherLast', [x, indices], y, (dy) => [
    callOne('scatterLast', [dy, indices], { size: x.shape[1]! }),
    null,
  ]);
}

/** table[ids[n]] = x[n] in place, without gradient: how caches are written. */
export function scatterRows(x: Tensor, ids: Tensor, table: Tensor): void {
  call('scatterRows', [x, ids, table], {});
}

/** The k largest of each row of x [N, C], descending; the gradient flows through the values. */
export function topK(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  const [values, indices] = call('topK', [x], { k }) as [Tensor, Tensor];
  track('topK', [x], [values], ([dy]) => [callOne('scatterLast', [dy!, indices], { size: x.shape[1]! })]);
  return { values, indices };
}
