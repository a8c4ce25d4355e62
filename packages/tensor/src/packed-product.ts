/**
 * Products with weights in tiles, by the storage type of the tiles; and activations rounded to 8 bits, once for all the
 * quantised weights that take them.
 */
import { check, type DType, formatShape } from '@minke/core';
import type { Arena } from './arena.ts';
import { call, callOne, flattened } from './call.ts';
import type { Tensor } from './tensor.ts';

/** Whether a storage type is blocks of integers. */
export function isQuantized(dtype: DType): dtype is 'q8_0' | 'q4_0' {
  return dtype === 'q8_0' || dtype === 'q4_0';
}

/** x [..., in] as bytes, with an f32 scale for each 32 numbers of a row. Made by {@link quantizeRows}. */
export interface QuantizedRows {
  /** Shape of x. */
  readonly shape: readonly number[];
  /** i8 [N, in] */
  readonly rows: Tensor;
  /** f32 [N, in / 32] */
  readonly scales: Tensor;
  dispose(): void;
}

/**
 * Rounds x [..., in] to 8 bits, each 32 numbers of a row by their largest: error at most 1/254 of it. `in` must be a
 * multiple of 32. No gradient.
 * @example
 * const rounded = quantizeRows(x);
 * const [gate, up] = [linearPacked(rounded, gateWeight), linearPacked(rounded, upWeight)];
 */
export function quantizeRows(x: Tensor): QuantizedRows {
  check(
    x.rank >= 1 && x.dtype === 'f32' && x.shape.at(-1)! % 32 === 0,
    () =>
      `quantizeRows: expected f32 x [..., in] with in a multiple of 32, got ${x.dtype}${formatShape(x.shape)}`,
  );
  check(
    !(x.requiresGrad && x.arena.recordsGradients),
    () => 'quantizeRows: expected no gradient to be recorded, rounding has none; detach x',
  );
  const [rows, scales] = call('quantizeRows', [flattened(x)], {}) as [Tensor, Tensor];
  return {
    shape: x.shape,
    rows,
    scales,
    dispose: () => {
      rows.dispose();
      scales.dispose();
    },
  };
}

/** The tiles that products without gradient take in place of a weight: those of the arena, else the weight's own. */
export function tilesOf(arena: Arena, w: Tensor): Tensor | undefined {
  return arena.packed?.tiles(w) ?? w.tiles ?? undefined;
}

/** x [N, in] times a packed weight [columns, in], transposed: rounded first where the weight is quantised. */
export function tiledProduct(x: Tensor | QuantizedRows, tiles: Tensor, columns: number): Tensor {
  if ('scales' in x) return callOne('matmulQuantized', [x.rows, x.scales, tiles], { columns });
  if (!isQuantized(tiles.dtype))
    return callOne(tiles.dtype === 'bf16' ? 'matmulPackedBf16' : 'matmulPacked', [x, tiles], { columns });
  const rounded = quantizeRows(x);
  const y = tiledProduct(rounded, tiles, columns);
  rounded.dispose();
  return y;
}
