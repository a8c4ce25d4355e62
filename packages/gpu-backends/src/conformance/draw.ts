/**
 * Seeded host tensors for the conformance drafts, and what a draft is: one op call with its numbers.
 *
 * All float numbers, attributes included, are representable in f32, so that no backend loses anything on the
 * way in.
 */
import {
  type Attributes,
  type Backend,
  byteLength,
  CommandList,
  type DType,
  dequantizeBlocks,
  elementCount,
  inferOutputs,
  type OpName,
  Random,
  type Shape,
  type TensorRef,
} from '@minke/core';
import { createReference } from '../reference/index.ts';

/** A tensor in host memory: numbers for f32 and i32, raw bytes for other types. */
export interface HostTensor {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** One call to be compared: the row's inputs (in-out ones included) and its attributes. */
export interface Draft<O extends OpName = OpName> {
  readonly label: string;
  readonly inputs: readonly HostTensor[];
  readonly attributes: Attributes<O>;
}

export function f32(shape: Shape, values: ArrayLike<number>): HostTensor {
  return { dtype: 'f32', shape, data: Float32Array.from(values) };
}

export function i32(shape: Shape, values: ArrayLike<number>): HostTensor {
  return { dtype: 'i32', shape, data: Int32Array.from(values) };
}

/** f32 numbers rounded to bf16 storage. */
export function bf16(tensor: HostTensor): HostTensor {
  return forward('cast', [tensor], { to: 'bf16' })[0]!;
}

/** Rows [N, D] as a latent cache stores them: in bf16, or in blocks of 8 bits with zeros up to whole ones. */
export function rounded(x: HostTensor, to: 'bf16' | 'q8_0'): HostTensor {
  const [rows, width] = x.shape as [number, number];
  const shape = [rows, to === 'bf16' ? width : 32 * Math.ceil(width / 32)];
  const table: HostTensor = {
    ...{ dtype: to, shape },
    data: new Uint8Array(byteLength(to, elementCount(shape))),
  };
  const ids = i32(
    [rows],
    Int32Array.from({ length: rows }, () => -1),
  );
  return forward('storeRounded', [table, x, ids], {})[0]!;
}

/** The numbers that a rounded tensor stands for. */
export function widened(tensor: HostTensor): HostTensor {
  if (tensor.dtype === 'bf16') return forward('cast', [tensor], { to: 'f32' })[0]!;
  return f32(tensor.shape, dequantizeBlocks('Q8_0', tensor.data as Uint8Array));
}

/** The same numbers under another shape. */
export function reshape(tensor: HostTensor, shape: Shape): HostTensor {
  return { ...tensor, shape };
}

/** Indices no table has. */
export const outside = [-1, -100, 0x7fffffff, -0x80000000] as const;

/** Random tensors from one seeded stream. */
export class Draw {
  readonly random: Random;

  constructor(seed: number, stream: number) {
    this.random = new Random(seed, stream);
  }

  #fill(shape: Shape, next: (i: number) => number): HostTensor {
    const data = new Float32Array(elementCount(shape));
    for (let i = 0; i < data.length; i++) data[i] = next(i);
    return { dtype: 'f32', shape, data };
  }

  /** Standard normals times `scale`. */
  normal(shape: Shape, scale = 1): HostTensor {
    return this.#fill(shape, () => scale * this.random.normal());
  }

  /** Uniform in [low, high). */
  uniform(shape: Shape, low: number, high: number): HostTensor {
    return this.#fill(shape, () => low + (high - low) * this.random.uniform());
  }

  /** Multiples of 1/4 in [-levels/4, levels/4): many equal values, exact sums. */
  coarse(shape: Shape, levels = 4): HostTensor {
    return this.#fill(shape, () => this.random.integer(-levels, levels) / 4);
  }

  /** Elements of `values`, at random. */
  among(shape: Shape, values: readonly number[]): HostTensor {
    return this.#fill(shape, () => this.random.pick(values));
  }

  /** A copy with about one element in `every` replaced by one of `values`. */
  sprinkle(tensor: HostTensor, values: readonly number[], every = 4): HostTensor {
    const data = tensor.data.slice();
    for (let i = 0; i < data.length; i++)
      if (this.random.integer(0, every) === 0) data[i] = this.random.pick(values);
    return { ...tensor, data };
  }

  /** Normals with zeros, infinities, NaN and subnormal numbers (of f32 and of bf16) among them. */
  extreme(shape: Shape, every = 40): HostTensor {
    const values = [NaN, Infinity, -Infinity, 0, -0, 1e-40, -3e-39, 2 ** -126, 1e18];
    return this.sprinkle(this.normal(shape), values, every);
  }

  /** Integers in [low, high); `low` alone where the range is empty. */
  integers(shape: Shape, low: number, high: number): HostTensor {
    const next = () => (high > low ? this.random.integer(low, high) : low);
    return i32(shape, Int32Array.from({ length: elementCount(shape) }, next));
  }

  /** Indices into `size` rows, about one in four outside. */
  indices(shape: Shape, size: number): HostTensor {
    return this.sprinkle(this.integers(shape, 0, size), [...outside, size]);
  }

  /** Random bytes of any storage type. */
  bytes(dtype: DType, shape: Shape): HostTensor {
    const data = Uint8Array.from({ length: byteLength(dtype, elementCount(shape)) }, () =>
      this.random.integer(0, 256),
    );
    return { dtype, shape, data };
  }

  /** Key ranges of `rows` queries over `keys` rows: causal, windowed, empty, inverted and beyond the rows. */
  ranges(rows: number, keys: number): HostTensor {
    const pairs = Array.from({ length: rows }, (_, n) => {
      const kind = this.random.integer(0, 6);
      const end = this.random.integer(0, keys + 1);
      if (kind <= 1) return [0, Math.min(n + 1, keys)];
      if (kind === 2) return [Math.max(0, end - 5), end];
      if (kind === 3) return [end, end];
      if (kind === 4) return [end, end - 2];
      return [-3, keys + 7];
    });
    return i32([rows, 2], pairs.flat());
  }

  /** Ranges in four parts: without a far part, with all of it, windows whose tiles begin before them, and odd ones. */
  splitRanges(rows: number, keys: number): HostTensor {
    const parts = Array.from({ length: rows }, (_, n) => {
      const kind = this.random.integer(0, 6);
      const end = Math.min(this.random.integer(0, 2) ? n + 1 : keys, keys);
      const near = Math.max(0, end - this.random.integer(1, 40));
      if (kind === 0) return [0, 0, 0, end];
      if (kind <= 2) return [0, 0, near, end];
      if (kind <= 4) return [near - (near % 64), near, near, end];
      return [0, near >> 1, near, end + 9];
    });
    return i32([rows, 4], parts.flat());
  }

  /** Two such ranges for each query. */
  prefixedRanges(rows: number, keys: number): HostTensor {
    return i32([rows, 4], [...this.ranges(2 * rows, keys).data]);
  }
}

const forwardReference = createReference();

/** An op's outputs by the reference: inputs of a backward op come from its forward op. */
export function forward<O extends OpName>(
  op: O,
  inputs: readonly HostTensor[],
  attributes: Attributes<O>,
): HostTensor[] {
  return callOn(forwardReference, op, inputs, attributes);
}

/** An op's outputs on a backend that can block. */
export function callOn<O extends OpName>(
  backend: Backend,
  op: O,
  inputs: readonly HostTensor[],
  attributes: Attributes<O>,
): HostTensor[] {
  const place = ({ dtype, shape }: { dtype: DType; shape: Shape }): TensorRef => ({
    buffer: backend.allocate(dtype, elementCount(shape)),
    dtype,
    shape,
    offset: 0,
  });
  const refs = inputs.map((input) => {
    const ref = place(input);
    backend.write(ref.buffer, input.data);
    return ref;
  });
  const outputs = inferOutputs(op, refs, attributes).map(place);
  const list = new CommandList();
  list.record(op, refs, outputs, attributes);
  backend.submit(list);
  const results = outputs.map(({ buffer, dtype, shape }) => {
    return { dtype, shape, data: backend.readSync!(buffer) as HostTensor['data'] };
  });
  for (const { buffer } of [...refs, ...outputs]) backend.release(buffer);
  return results;
}
