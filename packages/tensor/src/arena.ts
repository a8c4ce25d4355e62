/**
 * An arena: explicit owner of tensors and of one open command list.
 *
 * Operations append commands to the arena of their inputs; `submit` hands them to the backend in one call;
 * `reset` ends a step: its tensors become invalid and their memory serves the next one, so memory is flat over
 * steps. A persistent arena owns what outlives steps (parameters, optimiser state, caches); its memory is of
 * exact size and goes back to the backend tensor by tensor. Arenas are never ambient: requests interleave.
 */
import {
  type Attributes,
  type Backend,
  byteLength,
  CommandList,
  check,
  type DType,
  dtypes,
  formatShape,
  type HostArray,
  inferOutputs,
  MinkeError,
  type OpName,
  opNames,
  opRow,
  type Shape,
  sameShape,
} from '@minke/core';
import type { GraphNode } from './autograd.ts';
import { BufferPool } from './buffer-pool.ts';
import { trackLeaks, untrackLeaks } from './leaks.ts';
import { Plan } from './plan.ts';
import { Storage } from './storage.ts';
import { isTensor, Tensor } from './tensor.ts';

/** Packed forms of weights, as `PackedWeights` keeps them. */
export interface PackedForms {
  /** The packed form of `w`, this very tensor, as ops take it. */
  tiles(w: Tensor): Tensor | undefined;
  /** The blocks of 8 bits of `w`, in its shape, where they are kept; `tiles` holds the same numbers. */
  rows(w: Tensor): Tensor | undefined;
}

export interface ArenaOptions {
  /** Record gradients of operations whose inputs need them. Default false: inference. */
  readonly grad?: boolean;
  /** Owner of parameters and other state rather than of a step. Default false. */
  readonly persistent?: boolean;
  /** Name in error messages and leak reports. */
  readonly label?: string;
  /** Packed forms of weights, which `linear` and layers of experts read in their place where no gradient is recorded. */
  readonly packed?: PackedForms;
}

/** Numbers of a constant that the host holds at a time. */
const FILLED_AT_ONCE = 2 ** 16;

/** For each op, which inputs it writes. */
const writes = new Map<OpName, readonly boolean[]>(
  opNames.map((op) => [op, opRow(op).inputs.map((slot) => slot.inout === true)]),
);

/**
 * @example
 * using arena = new Arena(backend, { grad: true });
 * const loss = mean(square(arena.adopt(weight)));
 * loss.backward();
 * arena.reset();
 */
export class Arena {
  readonly backend: Backend;
  readonly grad: boolean;
  readonly persistent: boolean;
  readonly label: string;
  /** Packed forms of weights that inference reads in their place, or null. */
  readonly packed: PackedForms | null;
  /** @internal Increases when the tensors of this arena become invalid. */ generation = 0;
  /** @internal */ disposed = false;
  /** @internal Operations that gradients flow through, in creation order. */ tape: GraphNode[] = [];
  readonly #pool: BufferPool;
  readonly #storages = new Set<Storage>();
  /** Shared memory that the open list uses. */
  readonly #shared = new Set<Storage>();
  /** Tensors of this arena on the memory of others. */
  #aliases: Tensor[] = [];
  readonly #scopes: Tensor[][] = [];
  #list = new CommandList();
  /** Why this step's commands cannot be kept as a plan. */
  #unkeepable: string | null = null;
  #paused = 0;

  constructor(backend: Backend, options: ArenaOptions = {}) {
    this.backend = backend;
    this.grad = options.grad ?? false;
    this.persistent = options.persistent ?? false;
    this.packed = options.packed ?? null;
    this.label = options.label ?? (this.persistent ? 'persistent' : 'step');
    this.#pool = new BufferPool(backend);
    trackLeaks(this, this.label);
  }

  /** Bytes this arena holds from its backend, free for reuse ones included. */
  get bytes(): number {
    let bytes = this.#pool.bytes;
    if (this.persistent)
      for (const { buffer } of this.#storages) bytes += byteLength(buffer.dtype, buffer.length);
    return bytes;
  }

  /** Commands recorded and not yet submitted. */
  get pending(): number {
    return this.#list.records.length;
  }

  /** Uploads numbers. Throws `invalid-argument` unless `data` fills `shape`. */
  tensor(data: ArrayLike<number>, shape: Shape, dtype: 'f32' | 'i32' = 'f32'): Tensor {
    const tensor = this.#create('tensor', shape, dtype, true);
    check(
      data.length === tensor.size,
      () => `tensor: expected ${tensor.size} numbers for ${formatShape(shape)}, got ${data.length}`,
    );
    this.backend.write(tensor.ref.buffer, this.hostArray(data, dtype), tensor.ref.offset);
    return tensor;
  }

  /** A tensor whose numbers are unspecified until an operation writes them. */
  empty(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.#create('empty', shape, dtype, false);
  }

  /** Zeros in any storage type. */
  zeros(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.#filled(shape, 0, dtype);
  }

  full(shape: Shape, value: number): Tensor {
    return this.#filled(shape, value, 'f32');
  }

  /**
   * A leaf: gradients accumulate in its `grad`, in this arena, which should be persistent.
   * @param data its numbers; null leaves them to `write`
   */
  parameter(data: ArrayLike<number> | null, shape: Shape): Tensor {
    const tensor = data === null ? this.empty(shape) : this.tensor(data, shape);
    tensor.leaf = { root: tensor, grad: null, cleared: null };
    return tensor;
  }

  /**
   * An alias of `t` whose results land in this arena: same memory, same leaf. For operations on persistent
   * tensors only, and for tensors of another arena (these must not carry gradients: `detach` first).
   */
  adopt(t: Tensor): Tensor {
    t.assertLive('adopt');
    this.#assertOpen('adopt');
    if (t.arena === this) return t;
    check(
      t.node === null,
      () =>
        `adopt: expected a leaf or a tensor without gradient, got a result of ${t.node?.op}; detach it first`,
    );
    check(
      t.arena.backend === this.backend,
      () => 'adopt: expected a tensor of this backend; read it and upload it here',
    );
    if (!t.arena.persistent) t.arena.submit();
    t.storage.shared = true;
    const alias = this.#tensor(t.storage, t.shape, t.ref.offset);
    alias.leaf = t.leaf;
    return alias;
  }

  /** Hands the recorded commands to the backend, in one `backend.submit`. */
  submit(): void {
    if (this.#list.records.length === 0) return;
    this.#submitList();
    this.#unkeepable = 'some of its commands were submitted already';
  }

  /**
   * Submits the recorded commands and keeps them as a plan, to be run again on other numbers. The arena can do
   * nothing else until it is reset: what the commands gave back may serve others. Throws `invalid-argument` when
   * the commands do not make a whole step.
   */
  keep(): Plan {
    this.#assertOpen('keep');
    check(
      this.#unkeepable === null,
      () => `keep: expected the commands of a whole step in "${this.label}", but ${this.#unkeepable}`,
    );
    const shared = [...this.#shared].map((storage) => ({ storage, written: storage.writer === this }));
    return new Plan(this, this.#submitList(), shared);
  }

  #submitList(): CommandList {
    const list = this.#list;
    this.#list = new CommandList();
    for (const storage of this.#shared) {
      storage.users.delete(this);
      if (storage.writer === this) storage.writer = null;
    }
    this.#shared.clear();
    this.backend.submit(list.close());
    this.#pool.submitted();
    return list;
  }

  /** Submits, then ends the step: every tensor of this arena becomes invalid and its memory is kept for reuse. */
  reset(): void {
    this.#assertOpen('reset');
    this.submit();
    this.#invalidate();
    this.#pool.submitted();
  }

  /** Submits and returns all memory to the backend. A second call does nothing. */
  dispose(): void {
    if (this.disposed) return;
    this.submit();
    this.disposed = true;
    this.#invalidate();
    this.#pool.drain();
    untrackLeaks(this);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * Runs `f` and releases what it made in this arena, except the tensors it returns (alone, or in arrays and
   * plain objects). While gradients are recorded everything is kept, as the backward pass needs it.
   *
   * @example
   * for (const layer of layers) x = arena.scope(() => layer.forward(x)); // inference: flat in the depth
   */
  scope<T>(f: (made: readonly Tensor[]) => T): T {
    if (this.recordsGradients) return f([]);
    const made: Tensor[] = [];
    this.#scopes.push(made);
    let kept: Set<Tensor> = new Set();
    try {
      const result = f(made);
      check(
        !(result instanceof Promise),
        () => 'scope: expected a synchronous function, got a promise; await outside of it',
      );
      kept = collectTensors(result, kept);
      return result;
    } finally {
      this.#scopes.pop();
      const outer = this.#scopes.at(-1);
      for (const tensor of made) {
        if (!kept.has(tensor)) tensor.dispose();
        else outer?.push(tensor);
      }
    }
  }

  /** Runs `f` outside of every scope: what it makes lives until `reset`. For what later layers use again. */
  unscoped<T>(f: () => T): T {
    const scopes = this.#scopes.splice(0);
    try {
      return f();
    } finally {
      this.#scopes.push(...scopes);
    }
  }

  /** Runs `f` without recording gradients. */
  withoutGrad<T>(f: () => T): T {
    this.#paused++;
    try {
      return f();
    } finally {
      this.#paused--;
    }
  }

  /** Whether operations are recorded for `backward` now. */
  get recordsGradients(): boolean {
    return this.grad && this.#paused === 0;
  }

  /**
   * @internal Appends one call and returns its outputs, checked once by the command list.
   * @param into existing tensors to write the outputs to
   */
  run<O extends OpName>(
    op: O,
    inputs: readonly Tensor[],
    attributes: Attributes<O>,
    into?: readonly Tensor[],
  ): Tensor[] {
    this.#assertOpen(op);
    for (const input of into ? [...inputs, ...into] : inputs) {
      input.assertLive(op);
      if (input.arena.backend !== this.backend)
        throw new MinkeError(
          'invalid-argument',
          `${op}: expected tensors of one backend; read and upload to cross backends`,
        );
    }
    const refs = inputs.map((input) => input.ref);
    const outputs = into
      ? [...into]
      : inferOutputs(op, refs, attributes).map(({ dtype, shape }) => this.#create(op, shape, dtype, false));
    const written = writes.get(op)!;
    inputs.forEach((input, i) => {
      if (input.storage.shared) this.#share(input.storage, written[i]!);
    });
    for (const { storage } of outputs) if (storage.shared) this.#share(storage, true);
    this.#list.record(
      op,
      refs,
      outputs.map((output) => output.ref),
      attributes,
    );
    return outputs;
  }

  /** @internal A tensor on the memory of `t`, `offset` elements from its start. Persistent arenas do not count views. */
  view(t: Tensor, shape: Shape, offset: number): Tensor {
    const start = t.ref.offset + offset;
    return this.persistent
      ? new Tensor(this, t.storage, shape, start, false)
      : this.#tensor(t.storage, shape, start);
  }

  /**
   * @internal For a leaf whose parameter is in this arena: its gradient, made of zeros at first use, or the part
   * of it that belongs to a view.
   */
  gradientOf(t: Tensor): Tensor {
    const leaf = t.leaf!;
    const { root } = leaf;
    if (leaf.grad === null) {
      const scopes = this.#scopes.splice(0); // it outlives them
      leaf.grad = this.tensor(new Float32Array(root.size), root.shape);
      this.#scopes.push(...scopes);
    }
    const { grad } = leaf;
    if (leaf.cleared !== null) {
      const recorder = leaf.cleared.disposed ? this : leaf.cleared;
      leaf.cleared = null;
      recorder.run('fill', [grad], { value: 0 });
    }
    if (t.ref.offset === root.ref.offset && sameShape(t.shape, root.shape)) return grad;
    if (t.gradView === null || t.gradView.storage !== grad.storage)
      t.gradView = new Tensor(
        this,
        grad.storage,
        t.shape,
        grad.ref.offset + t.ref.offset - root.ref.offset,
        false,
      );
    return t.gradView;
  }

  /** @internal One handle fewer; the last one frees the memory for reuse. */
  drop(storage: Storage): void {
    if (--storage.handles === 0) this.#free(storage);
  }

  /** @internal Numbers in the form the backend stores. */
  hostArray(data: ArrayLike<number>, dtype: DType): HostArray {
    if (dtype === 'i32') return data instanceof Int32Array ? data : Int32Array.from(data);
    if (dtype !== 'f32') return data instanceof Uint8Array ? data : Uint8Array.from(data);
    if (this.backend.info.bits === 64) return data instanceof Float64Array ? data : Float64Array.from(data);
    return data instanceof Float32Array ? data : Float32Array.from(data);
  }

  #assertOpen(where: string): void {
    if (this.disposed)
      throw new MinkeError(
        'invalid-argument',
        `${where}: expected an open arena, got "${this.label}", which was disposed; make a new one`,
      );
  }

  /** @param value 0 in types other than f32 and i32 */
  #filled(shape: Shape, value: number, dtype: DType): Tensor {
    if (!this.persistent) {
      const tensor = this.#create('full', shape, dtype, false);
      this.run('fill', [tensor], { value });
      return tensor;
    }
    // A persistent arena may have no step to come: written by the host, a piece at a time, as caches fill gigabytes.
    const tensor = this.#create('full', shape, dtype, true);
    const piece = Math.min(tensor.size, FILLED_AT_ONCE);
    const raw = dtype !== 'f32' && dtype !== 'i32';
    const numbers = raw
      ? new Uint8Array(byteLength(dtype, piece))
      : this.hostArray(new Array<number>(piece).fill(value), dtype);
    const { buffer, offset } = tensor.ref;
    for (let start = 0; start < tensor.size; start += piece) {
      const rest = Math.min(piece, tensor.size - start);
      this.backend.write(buffer, numbers.subarray(0, raw ? byteLength(dtype, rest) : rest), offset + start);
    }
    return tensor;
  }

  #create(where: string, shape: Shape, dtype: DType, upload: boolean): Tensor {
    this.#assertOpen(where);
    let length = 1;
    for (const size of shape) {
      check(
        Number.isInteger(size) && size >= 0,
        () => `${where}: expected whole sizes, got ${formatShape(shape)}`,
      );
      length *= size;
    }
    const buffer = this.persistent
      ? this.backend.allocate(dtype, length || dtypes[dtype].blockSize)
      : this.#pool.take(dtype, length, upload);
    const storage = new Storage(buffer, this);
    storage.uploaded = upload;
    this.#storages.add(storage);
    return this.#tensor(storage, shape, 0);
  }

  #tensor(storage: Storage, shape: Shape, offset: number): Tensor {
    const tensor = new Tensor(this, storage, shape, offset, true);
    if (storage.arena !== this) this.#aliases.push(tensor);
    this.#scopes.at(-1)?.push(tensor);
    return tensor;
  }

  /** Notes that the open list uses memory that other arenas may use too, after what they recorded before. */
  #share(storage: Storage, written: boolean): void {
    if (written) storage.settle(this);
    else if (storage.writer !== null && storage.writer !== this) storage.writer.submit();
    if (!storage.users.has(this)) {
      storage.users.add(this);
      this.#shared.add(storage);
    }
    if (written) {
      storage.writer = this;
      storage.version++;
    }
  }

  #free(storage: Storage): void {
    this.#storages.delete(storage);
    storage.settle(storage.arena.persistent ? null : this);
    storage.live = false;
    if (storage.uploaded) this.#unkeepable = 'numbers that it uploaded were released before its end';
    if (this.persistent) this.backend.release(storage.buffer);
    else this.#pool.give(storage.buffer);
  }

  #invalidate(): void {
    this.tape = [];
    for (const alias of this.#aliases) alias.dispose();
    this.#aliases = [];
    this.generation++;
    for (const storage of [...this.#storages]) this.#free(storage);
    this.#unkeepable = null;
  }
}

function collectTensors(value: unknown, into: Set<Tensor>): Set<Tensor> {
  if (isTensor(value)) into.add(value);
  else if (Array.isArray(value)) for (const item of value) collectTensors(item, into);
  else if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) collectTensors(item, into);
  return into;
}
