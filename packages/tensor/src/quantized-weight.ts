/**
 * Weights of linear layers that are in memory only as blocks of 8 or 4 bits, in the tiles that products read
 * (packed-weight.ts): a model of such weights takes an eighth or a quarter of f32 and a little. `linear` and layers of
 * experts take them as any weight, with the bits of `PackedWeights` of the same blocks, and `gatherRows` gives rows of
 * them. Nothing else can: no gradient, no adapters, no reading back; every other operation throws `unsupported`.
 */
import { check, elementCount, formatShape, MinkeError } from '@minke/core';
import type { Arena } from './arena.ts';
import { borrow, call } from './call.ts';
import { blocksTensor, quantizedOps } from './packed-weight.ts';
import type { Tensor } from './tensor.ts';

/** Numbers of a block, and columns of a tile. */
const GROUP = 32;

/** [.., tiles, groups, 1024] of a weight [.., out, in]. */
function tilesFor(arena: Arena, shape: readonly number[], type: 'q8_0' | 'q4_0'): Tensor {
  const [rows, width] = shape.slice(-2) as [number, number];
  check(
    arena.persistent && (shape.length === 2 || shape.length === 3) && width % GROUP === 0,
    () =>
      `quantizedWeight: expected a persistent arena and a shape [out, in] or [experts, out, in] with in a multiple of 32, got ${formatShape(shape)}`,
  );
  const { backend } = arena;
  if (!quantizedOps.every((op) => backend.supports(op)))
    throw new MinkeError(
      'unsupported',
      `quantizedWeight: expected a backend with products of ${type} weights, got ${backend.info.name}; use the native, wasm or reference backend`,
    );
  const tiles = [Math.ceil(rows / GROUP), width / GROUP, GROUP * GROUP];
  return arena.empty([...shape.slice(0, -2), ...tiles], type);
}

/**
 * A weight of blocks, whose numbers are unspecified until `writeQuantized` has written all of them.
 *
 * @param arena persistent; owns its memory, about `byteLength(type, out in)`
 * @param shape [out, in] or [experts, out, in], `in` a multiple of 32
 * @param options `rows` keeps the blocks row by row besides, for as much memory again: `rowBlocksOf` gives them
 * @throws MinkeError `invalid-argument`, `out-of-memory`; `unsupported` on a backend without such products
 * @example
 * const w = quantizedWeight(arena, [outputs, inputs], 'q4_0');
 * writeQuantized(w, numbers, { staging });
 * const y = linear(x, w);
 */
export function quantizedWeight(
  arena: Arena,
  shape: readonly number[],
  type: 'q8_0' | 'q4_0',
  options: { readonly rows?: boolean } = {},
): Tensor {
  const tiles = tilesFor(arena, shape, type);
  const place = arena.empty([GROUP], type);
  const w = arena.view(place, shape, 0);
  place.storage.stands = true;
  w.tiles = tiles;
  if (options.rows) w.rowBlocks = arena.empty(shape, type);
  return w;
}

/** The blocks of a weight row by row, in its shape, where they are kept: those of the arena, else its own. */
export function rowBlocksOf(arena: Arena, w: Tensor): Tensor | undefined {
  return arena.packed?.rows(w) ?? w.rowBlocks ?? undefined;
}

/**
 * Gives a weight tiles of blocks besides, which products without gradient take in its place: for a table that is the head
 * too. Its own numbers stay as they are, and rows are looked up in them; `writeQuantized` fills the new tiles. The weight
 * must not change afterwards.
 */
export function attachTiles(w: Tensor, type: 'q8_0' | 'q4_0'): void {
  check(
    w.leaf === null,
    () => 'attachTiles: expected a weight that is not trained, got a parameter; use PackedWeights',
  );
  w.lookupTiles = w.tiles;
  w.tiles = tilesFor(w.arena, w.shape, type);
}

/** Which rows are written, and with what memory. */
export interface QuantizedRowsAt {
  /** A step arena whose memory serves the conversion; it is reset. */
  readonly staging: Arena;
  /** Default 0. */
  readonly expert?: number;
  /** The first row, a multiple of 32. Default 0. */
  readonly row?: number;
}

/**
 * Writes rows of a weight's tiles: numbers, rounded to blocks as the op `quantize` does, or blocks as they are. Each call
 * writes a multiple of 32 rows, or those to the last one.
 * @throws MinkeError `invalid-argument` for anything else
 */
export function writeQuantized(
  w: Tensor,
  rows: Float32Array | Uint8Array,
  { staging, expert = 0, row = 0 }: QuantizedRowsAt,
): void {
  const { tiles } = w;
  const [height, width] = w.shape.slice(-2) as [number, number];
  const bytesPerRow =
    tiles === null || width === 0 ? 0 : ((tiles.dtype === 'q8_0' ? 34 : 18) * width) / GROUP;
  const count = rows instanceof Float32Array ? rows.length / width : rows.length / bytesPerRow;
  const end = row + count;
  check(
    tiles !== null &&
      Number.isInteger(count) &&
      row % GROUP === 0 &&
      (end === height || (end < height && count % GROUP === 0)) &&
      expert >= 0 &&
      expert < (w.rank === 3 ? (w.shape[0] as number) : 1),
    () =>
      `writeQuantized: expected a multiple of 32 rows, or the rest, of a weight ${formatShape(w.shape)} of blocks, got ${count} from row ${row} of expert ${expert}`,
  );
  if (count === 0) return;
  const type = tiles.dtype as 'q8_0' | 'q4_0';
  const shape = [count, width];
  const blocks =
    rows instanceof Float32Array
      ? call('quantize', [staging.tensor(rows, shape)], { to: type }, staging)[0]!
      : blocksTensor(staging, rows, shape, type);
  const packed = call('packQuantized', [blocks], {}, staging)[0]!;
  const tile = elementCount(tiles.shape.slice(-2));
  const offset = (expert * (tiles.shape.at(-3) as number) + row / GROUP) * tile;
  call('copyInto', [packed, borrow(tiles, packed.shape, offset)], {}, staging);
  if (w.rowBlocks !== null && w.lookupTiles === null) {
    const start = (expert * height + row) * width;
    call('copyInto', [blocks, borrow(w.rowBlocks, shape, start)], {}, staging);
  }
  staging.reset();
}
