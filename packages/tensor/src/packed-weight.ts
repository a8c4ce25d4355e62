/**
 * Weights of linear layers in the layout products read fastest, for inference: tiles of 32 columns, the input
 * axis outermost, so that one row of x takes a weight at the speed of memory (layout: `packWeight` in core's op
 * table). The bits of `linear` and of a grouped product on the same weight.
 *
 * Packed weights have no gradient. After an optimiser step they are packed again (`update`). On a backend
 * without the ops the handle keeps a plain copy, and the same functions multiply with that.
 */
import { check, formatShape, type OpName } from '@minke/core';
import type { Arena } from './arena.ts';
import { call, callOne, flattened, renamed } from './call.ts';
import { castTo, roundedToBf16, withBias } from './linear-algebra.ts';
import type { Tensor } from './tensor.ts';

const bf16Ops: readonly OpName[] = ['packWeightBf16', 'matmulPackedBf16', 'groupedMatmulPackedBf16'];
const f32Ops: readonly OpName[] = ['packWeight', 'matmulPacked', 'groupedMatmulPacked'];

/** A weight [out, in], or [experts, out, in], made by {@link packWeight}. */
export class PackedWeight {
  /** Shape of the weight that was packed. */
  readonly shape: readonly number[];
  readonly storage: 'f32' | 'bf16';
  /** @internal Whether `tensor` is in tiles, or the backend has no packed products. */
  readonly tiled: boolean;
  /** @internal */ readonly tensor: Tensor;

  /** @internal Use {@link packWeight}. */
  constructor(w: Tensor, storage: 'f32' | 'bf16', arena: Arena) {
    const { backend } = arena;
    this.shape = w.shape;
    this.storage = storage;
    this.tiled = (storage === 'bf16' ? bf16Ops : f32Ops).every((op) => backend.supports(op));
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

  #pack(w: Tensor, arena: Arena): Tensor {
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
 * Packs w [out, in] or [experts, out, in], f32 or bf16.
 *
 * @param options `arena` owns the packed weight: that of `w` by default. `bf16` rounds an f32 weight: half the
 *   memory, and products as those of `matmul` with a bf16 tensor; a bf16 weight stays bf16.
 * @example
 * const packed = packWeight(layer.weight);
 * const y = linearPacked(x, packed); // the bits of linear(x, layer.weight)
 */
export function packWeight(
  w: Tensor,
  options: { readonly arena?: Arena; readonly bf16?: boolean } = {},
): PackedWeight {
  check(
    (w.rank === 2 || w.rank === 3) && (w.dtype === 'f32' || w.dtype === 'bf16'),
    () =>
      `packWeight: expected w [out, in] or [experts, out, in] in f32 or bf16, got ${w.dtype}${formatShape(w.shape)}`,
  );
  const storage = options.bf16 || w.dtype === 'bf16' ? 'bf16' : 'f32';
  return new PackedWeight(w, storage, options.arena ?? w.arena);
}

function checkCall(where: string, x: Tensor, packed: PackedWeight, rank: number): void {
  check(
    packed.shape.length === rank && x.rank >= 1 && x.shape.at(-1) === packed.shape.at(-1),
    () =>
      `${where}: expected x [..., in] for a weight [${rank === 3 ? 'experts, ' : ''}out, in], got ${formatShape(x.shape)} for ${formatShape(packed.shape)}`,
  );
  check(
    !(x.requiresGrad && x.arena.recordsGradients),
    () => `${where}: expected no gradient to be recorded, packed weights have none; use the weight itself`,
  );
}

/** x w^T + bias over the last axis: x [..., in] -> [..., out]. No gradient. */
export function linearPacked(x: Tensor, packed: PackedWeight, bias?: Tensor): Tensor {
  checkCall('linearPacked', x, packed, 2);
  const columns = packed.shape[0]!;
  const x2 = flattened(x);
  const { tensor, tiled, storage } = packed;
  let y: Tensor;
  if (tiled) y = callOne(storage === 'bf16' ? 'matmulPackedBf16' : 'matmulPacked', [x2, tensor], { columns });
  else {
    const rows = storage === 'bf16' ? roundedToBf16(x2) : x2;
    y = callOne('matmul', [rows, tensor], { transA: 0, transB: 1 });
    if (rows !== x2) rows.dispose();
  }
  y = withBias(y, bias);
  return x.rank === 2 ? y : renamed(y, [...x.shape.slice(0, -1), columns]);
}

/**
 * Rows offsets[e] to offsets[e + 1] of x [R, in] times the weight of expert e, transposed -> [R, out]; offsets
 * i32 [E + 1] as `expertPlan` gives them. No gradient.
 */
export function groupedLinearPacked(x: Tensor, packed: PackedWeight, offsets: Tensor): Tensor {
  checkCall('groupedLinearPacked', x, packed, 3);
  const columns = packed.shape[1]!;
  const { tensor, tiled, storage } = packed;
  if (tiled) {
    const op = storage === 'bf16' ? 'groupedMatmulPackedBf16' : 'groupedMatmulPacked';
    return callOne(op, [x, tensor, offsets], { columns });
  }
  const rows = storage === 'bf16' ? roundedToBf16(x) : x;
  const y = callOne('groupedMatmul', [rows, tensor, offsets], { transW: 1 });
  if (rows !== x) rows.dispose();
  return y;
}
