/**
 * Weights of linear layers in the layout products read fastest, for inference: tiles of 32 columns, the input
 * axis outermost, so that one row of x takes a weight at the speed of memory (layout: `packWeight` and
 * `packQuantized` in core's op table). In f32 and bf16 the bits of `linear` and of a grouped product on the same
 * weight; in q8_0 and q4_0, a quarter and an eighth of the memory of f32 and a little, x is rounded to 8 bits too
 * (`quantizeRows`).
 *
 * Packed weights have no gradient. After an optimiser step they are packed again (`update`). On a backend
 * without the ops the handle keeps a plain copy, and the same functions multiply with that.
 */
import { byteLength, check, elementCount, formatShape, MinkeError, type OpName } from '@minke/core';
import type { Arena } from './arena.ts';
import { call, callOne, flattened, renamed } from './call.ts';
import { castTo, roundedToBf16, withBias } from './linear-algebra.ts';
import { isQuantized, type QuantizedRows, quantizeRows, tiledProduct } from './packed-product.ts';
import type { Tensor } from './tensor.ts';

/** How packed weights are stored: as they are, or as GGUF's blocks of 8 or 4 bit integers with a scale for 32 numbers. */
export type PackedStorage = 'f32' | 'bf16' | 'q8_0' | 'q4_0';

const bf16Ops: readonly OpName[] = ['packWeightBf16', 'matmulPackedBf16', 'groupedMatmulPackedBf16'];
const f32Ops: readonly OpName[] = ['packWeight', 'matmulPacked', 'groupedMatmulPacked'];
/** @internal What products with weights of blocks need. */
export const quantizedOps: readonly OpName[] = [
  'quantize',
  'packQuantized',
  'quantizeRows',
  'matmulQuantized',
  'groupedMatmulQuantized',
];

/** A weight [out, in], or [experts, out, in], made by {@link packWeight}. */
export class PackedWeight {
  /** Shape of the weight that was packed. */
  readonly shape: readonly number[];
  readonly storage: PackedStorage;
  /** @internal Whether `tensor` is in tiles, or the backend has no packed products. */
  readonly tiled: boolean;
  /** @internal */ readonly tensor: Tensor;

  /** @internal Use {@link packWeight}. */
  constructor(w: Tensor, storage: PackedStorage, arena: Arena) {
    const { backend } = arena;
    this.shape = w.shape;
    this.storage = storage;
    const ops = isQuantized(storage) ? quantizedOps : storage === 'bf16' ? bf16Ops : f32Ops;
    this.tiled = ops.every((op) => backend.supports(op));
    if (isQuantized(storage) && !this.tiled)
      throw new MinkeError(
        'unsupported',
        `packWeight: expected a backend with products of ${storage} weights, got ${backend.info.name}; pack as f32 or bf16`,
      );
    this.tensor = this.#pack(w, arena);
  }

  /** Packs `w`, which has changed, again, into the same memory: recorded lists go on to work. */
  update(w: Tensor): void {
    check(
      w.shape.join() === this.shape.join(),
      () => `PackedWeight.update: expected ${formatShape(this.shape)}, got ${formatShape(w.shape)}`,
    );
    const { arena } = this.tensor;
    const packed = this.#pack(w, arena);
    call('copyInto', [packed, this.tensor], {}, arena);
    packed.dispose();
  }

  dispose(): void {
    this.tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Bytes of the packed form. */
  get bytes(): number {
    return byteLength(this.tensor.dtype, this.tensor.size);
  }

  #pack(w: Tensor, arena: Arena): Tensor {
    if (isQuantized(this.storage)) {
      const blocks = isQuantized(w.dtype) ? w : call('quantize', [w], { to: this.storage }, arena)[0]!;
      const packed = call('packQuantized', [blocks], {}, arena)[0]!;
      if (blocks !== w) blocks.dispose();
      return packed;
    }
    if (!this.tiled) {
      if (this.storage === 'bf16') return roundedToBf16(w, arena);
      const copy = arena.empty(w.shape);
      call('copyInto', [w, copy], {}, arena);
      return copy;
    }
    if (this.storage === 'f32') return call('packWeight', [w], {}, arena)[0]!;
    const narrow = castTo(w, 'bf16', arena);
    const packed = call('packWeightBf16', [narrow], {}, arena)[0]!;
    if (narrow !== w) narrow.dispose();
    return packed;
  }
}

/**
 * Packs w [out, in] or [experts, out, in], f32, bf16 or blocks of q8_0 or q4_0 (from {@link blocksTensor}).
 *
 * @param options `arena` owns the packed weight: that of `w` by default. `bf16` rounds an f32 weight: half the
 *   memory, and products as those of `matmul` with a bf16 tensor; a bf16 weight stays bf16. `quantize` rounds an f32
 *   weight whose `in` is a multiple of 32 to blocks, each scale chosen for the least squared error; blocks stay what
 *   they are, without loss. Throws `unsupported` for blocks on a backend without products of them.
 * @example
 * const packed = packWeight(layer.weight);
 * const y = linearPacked(x, packed); // the bits of linear(x, layer.weight)
 */
export function packWeight(
  w: Tensor,
  options: { readonly arena?: Arena; readonly bf16?: boolean; readonly quantize?: 'q8_0' | 'q4_0' } = {},
): PackedWeight {
  const { dtype } = w;
  check(
    (w.rank === 2 || w.rank === 3) && (dtype === 'f32' || dtype === 'bf16' || isQuantized(dtype)),
    () =>
      `packWeight: expected w [out, in] or [experts, out, in] in f32, bf16, q8_0 or q4_0, got ${dtype}${formatShape(w.shape)}`,
  );
  const { quantize } = options;
  check(
    quantize === undefined || (dtype === 'f32' && !options.bf16) || dtype === quantize,
    () => `packWeight: expected an f32 weight to round to ${quantize}, got ${options.bf16 ? 'bf16' : dtype}`,
  );
  const storage =
    quantize ?? (isQuantized(dtype) ? dtype : options.bf16 || dtype === 'bf16' ? 'bf16' : 'f32');
  return new PackedWeight(w, storage, options.arena ?? w.arena);
}

/**
 * A weight stored as blocks of q8_0 or q4_0, from their bytes row by row, as GGUF holds them.
 * Throws `invalid-argument` unless the bytes fill `shape`.
 * @example
 * const packed = packWeight(blocksTensor(arena, bytes, [outputs, inputs], 'q4_0'), { arena: persistent });
 */
export function blocksTensor(
  arena: Arena,
  bytes: Uint8Array,
  shape: readonly number[],
  dtype: 'q8_0' | 'q4_0',
): Tensor {
  const want = byteLength(dtype, elementCount(shape));
  check(
    bytes.length === want && (shape.at(-1) ?? 1) % 32 === 0,
    () =>
      `blocksTensor: expected ${want} bytes for ${dtype}${formatShape(shape)} with a last axis of whole blocks of 32, got ${bytes.length} bytes`,
  );
  const tensor = arena.empty(shape, dtype);
  arena.backend.write(tensor.ref.buffer, bytes, tensor.ref.offset);
  return tensor;
}

function checkCall(where: string, x: Tensor | QuantizedRows, packed: PackedWeight, rank: number): void {
  const width = x.shape.at(-1);
  if ('scales' in x) {
    check(
      isQuantized(packed.storage) && packed.shape.length === rank && width === packed.shape.at(-1),
      () =>
        `${where}: expected a weight of q8_0 or q4_0 with ${width} inputs for rounded rows, got ${packed.storage}${formatShape(packed.shape)}`,
    );
    return;
  }
  check(
    packed.shape.length === rank && x.rank >= 1 && width === packed.shape.at(-1),
    () =>
      `${where}: expected x [..., in] for a weight [${rank === 3 ? 'experts, ' : ''}out, in], got ${formatShape(x.shape)} for ${formatShape(packed.shape)}`,
  );
  check(
    !(x.requiresGrad && x.arena.recordsGradients),
    () => `${where}: expected no gradient to be recorded, packed weights have none; use the weight itself`,
  );
}

/**
 * x w^T + bias over the last axis: x [..., in] -> [..., out]. No gradient. Layers with quantised weights that share an
 * input round it once: {@link quantizeRows}.
 */
export function linearPacked(x: Tensor | QuantizedRows, packed: PackedWeight, bias?: Tensor): Tensor {
  checkCall('linearPacked', x, packed, 2);
  const columns = packed.shape[0]!;
  const { tensor, tiled, storage } = packed;
  const shape = [...x.shape.slice(0, -1), columns];
  const reshaped = (y: Tensor) => (shape.length === 2 ? y : renamed(y, shape));
  if ('scales' in x) return reshaped(withBias(tiledProduct(x, tensor, columns), bias));
  const x2 = flattened(x);
  let y: Tensor;
  if (tiled) y = tiledProduct(x2, tensor, columns);
  else {
    const rows = storage === 'bf16' ? roundedToBf16(x2) : x2;
    y = callOne('matmul', [rows, tensor], { transA: 0, transB: 1 });
    if (rows !== x2) rows.dispose();
  }
  return reshaped(withBias(y, bias));
}

/**
 * Rows offsets[e] to offsets[e + 1] of x [R, in] times the weight of expert e, transposed -> [R, out]; offsets
 * i32 [E + 1] as `expertPlan` gives them. No gradient.
 */
export function groupedLinearPacked(
  x: Tensor | QuantizedRows,
  packed: PackedWeight,
  offsets: Tensor,
): Tensor {
  checkCall('groupedLinearPacked', x, packed, 3);
  const columns = packed.shape[1]!;
  const { tensor, tiled, storage } = packed;
  if ('scales' in x || isQuantized(storage)) {
    const rounded = 'scales' in x ? x : quantizeRows(x);
    const y = callOne('groupedMatmulQuantized', [rounded.rows, rounded.scales, tensor, offsets], { columns });
    if (rounded !== x) rounded.dispose();
    return y;
  }
  if (tiled) {
    const op = storage === 'bf16' ? 'groupedMatmulPackedBf16' : 'groupedMatmulPacked';
    return callOne(op, [x, tensor, offsets], { columns });
  }
  const rows = storage === 'bf16' ? roundedToBf16(x) : x;
  const y = callOne('groupedMatmul', [rows, tensor, offsets], { transW: 1 });
  if (rows !== x) rows.dispose();
  return y;
}
