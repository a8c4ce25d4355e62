/**
 * A tensor: a shape over a piece of device memory, owned by an arena.
 *
 * Tensors carry no arithmetic; operations are free functions. Views (`reshape`, `rows`) share memory. A leaf
 * is a tensor made by `arena.parameter`, an alias of it (`arena.adopt`) or a view of either: gradients of all
 * of them land in the one `grad` of the parameter. Numbers come back through `read`, never implicitly.
 */
import {
  check,
  elementCount,
  formatShape,
  type HostArray,
  MinkeError,
  type Shape,
  type TensorRef,
} from '@minke/core';
import type { Arena } from './arena.ts';
import { backward, type GraphNode } from './autograd.ts';
import type { Storage } from './storage.ts';
import { reshape, rows } from './views.ts';

const marker: unique symbol = Symbol.for('minke.tensor') as never;

/** What a leaf's aliases and views share: the parameter and its gradient. */
export interface Leaf {
  /** The parameter itself. */
  readonly root: Tensor;
  grad: Tensor | null;
  /** Set while the gradient counts as zero, whatever its memory holds: the arena to record the zeroing in. */
  cleared: Arena | null;
}

export class Tensor {
  readonly [marker] = true;
  readonly arena: Arena;
  readonly shape: Shape;
  readonly ref: TensorRef;
  /** @internal */ readonly storage: Storage;
  /** @internal */ readonly generation: number;
  /** @internal False for a tensor that only borrows memory for one call. */ readonly owner: boolean;
  /** @internal */ disposed = false;
  /** @internal The operation that made this tensor, when gradients flow through it. */
  node: GraphNode | null = null;
  /** @internal */ leaf: Leaf | null = null;
  /** @internal The gradient of a view of a leaf. */ gradView: Tensor | null = null;
  /** @internal Its numbers as tiles of blocks, which products take in its place where no gradient is recorded. */
  tiles: Tensor | null = null;
  /** @internal The tiles that rows are looked up in, where its numbers are only there packed and `tiles` are others. */
  lookupTiles: Tensor | null = null;
  /** @internal Its blocks row by row, beside its tiles, for products that read them so. */
  rowBlocks: Tensor | null = null;

  /** @internal Use the methods of `Arena`. */
  constructor(
    arena: Arena,
    storage: Storage,
    shape: Shape,
    offset: number,
    owner: boolean,
    generation = arena.generation,
  ) {
    const { buffer } = storage;
    this.arena = arena;
    this.storage = storage;
    this.shape = shape;
    this.ref = { buffer, dtype: buffer.dtype, shape, offset };
    this.generation = generation;
    this.owner = owner;
    if (owner) storage.handles++;
  }

  get dtype(): TensorRef['dtype'] {
    return this.ref.dtype;
  }

  /** Number of elements. */
  get size(): number {
    return elementCount(this.shape);
  }

  get rank(): number {
    return this.shape.length;
  }

  /** True for leaves and for results that gradients flow through. */
  get requiresGrad(): boolean {
    return this.node !== null || this.leaf !== null;
  }

  /** The accumulated gradient of a leaf, null before the first backward pass and for every other tensor. */
  get grad(): Tensor | null {
    return this.leaf?.grad ? this.leaf.root.arena.gradientOf(this) : null;
  }

  /** @internal Throws, naming the operation, when this tensor's memory is gone or its numbers are only packed. */
  assertLive(where: string): void {
    if (this.storage.stands)
      throw new MinkeError(
        'unsupported',
        `${where}: expected numbers, got a ${this.dtype} weight of shape ${formatShape(this.shape)} that is kept packed, for products in inference only; load the model without quantisation for training, adapters and export`,
      );
    if (!this.disposed && this.generation === this.arena.generation && this.storage.live) return;
    const cause = this.disposed
      ? 'was disposed'
      : this.arena.disposed
        ? `belongs to arena "${this.arena.label}", which was disposed`
        : this.generation !== this.arena.generation
          ? `belongs to a step of arena "${this.arena.label}" that was reset`
          : 'is an alias of a tensor that was disposed or reset';
    throw new MinkeError(
      'invalid-argument',
      `${where}: expected live tensors, got one of shape ${formatShape(this.shape)} that ${cause}; read or copy it before that`,
    );
  }

  /**
   * The same numbers under another shape; shares memory, differentiable.
   * @param shape one size may be -1: what is left.
   */
  reshape(shape: Shape): Tensor {
    return reshape(this, shape);
  }

  /** Rows `start` to `end` (exclusive) of axis 0; shares memory, differentiable. */
  rows(start: number, end: number): Tensor {
    return rows(this, start, end);
  }

  /** The same memory without gradient. */
  detach(): Tensor {
    this.assertLive('detach');
    return this.arena.view(this, this.shape, 0);
  }

  /** Submits the commands before it and returns a copy of the numbers. */
  read(): Promise<HostArray> {
    this.#settle('read');
    return this.arena.backend.read(this.ref.buffer, this.ref.offset, this.size);
  }

  /** `read` at once. Throws `unsupported` on backends that cannot block. */
  readSync(): HostArray {
    const { backend } = this.arena;
    if (backend.readSync === undefined)
      throw new MinkeError(
        'unsupported',
        `readSync: expected a backend that can block, got ${backend.info.name}; use await read()`,
      );
    this.#settle('readSync');
    return backend.readSync(this.ref.buffer, this.ref.offset, this.size);
  }

  /**
   * Submits the commands before it, then overwrites the numbers, or those from `start` on, in row-major order, as far as
   * `data` goes.
   */
  write(data: ArrayLike<number>, start?: number): void {
    check(
      start === undefined ? data.length === this.size : start >= 0 && start + data.length <= this.size,
      () =>
        `write: expected ${this.size} numbers for ${formatShape(this.shape)}, got ${data.length}${start === undefined ? '' : ` from ${start} on`}`,
    );
    this.#settle('write');
    this.storage.version++;
    const { buffer, offset } = this.ref;
    this.arena.backend.write(buffer, this.arena.hostArray(data, this.dtype), offset + (start ?? 0));
  }

  #settle(where: string): void {
    this.assertLive(where);
    this.arena.submit();
    this.storage.arena.submit();
    this.storage.settle(null);
  }

  /**
   * Accumulates the gradient of this one-element tensor into `grad` of every leaf it depends on. Gradients
   * between are released as soon as they are used; the graph stays until the arena is reset.
   */
  backward(): void {
    backward(this);
  }

  /** Gives the memory back once no other view or alias holds it. Further use throws; a second call does nothing. */
  dispose(): void {
    if (this.disposed || !this.owner) return;
    this.disposed = true;
    if (this.generation !== this.arena.generation || !this.storage.live) return;
    this.storage.arena.drop(this.storage);
    if (this.leaf?.root === this) this.leaf.grad?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** True for tensors of any copy of this package. */
export function isTensor(x: unknown): x is Tensor {
  return typeof x === 'object' && x !== null && (x as Record<symbol, unknown>)[marker] === true;
}
