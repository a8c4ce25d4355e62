/**
 * What a reference kernel is: a function from one call's tensors and attributes to nothing, typed by core's op
 * table, so that a kernel destructures exactly the tensors of its row (inputs, then outputs).
 *
 * Kernels compute in f64 and round once, when a number is stored: into a Float32Array to f32, into a
 * Float64Array (checking mode) not at all. Nothing here knows which of the two it is.
 */
import type { Attributes, DType, HostArray, OpName, opTable, Shape } from '@minke/core';

/** A contiguous row-major tensor; `data` holds exactly its elements (raw bytes for types other than f32, i32). */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: HostArray;
}

type Each<Slots extends readonly unknown[]> = { readonly [I in keyof Slots]: Tensor };

/** The tensors of one call of `O`: its row's inputs, then its outputs. */
export type Call<O extends OpName> = readonly [
  ...Each<(typeof opTable)[O]['inputs']>,
  ...Each<(typeof opTable)[O]['outputs']>,
];

/** One function per op. */
export type Kernels = {
  readonly [O in OpName]: (tensors: Call<O>, attributes: Attributes<O>) => void;
};

/** Width of the last axis; 1 for a scalar. */
export function lastSize(shape: Shape): number {
  return shape[shape.length - 1] ?? 1;
}

/** Product of the axes before `axis`, its size, and the product of those after it. */
export function around(shape: Shape, axis: number): [outer: number, size: number, inner: number] {
  const product = (sizes: Shape) => sizes.reduce((a, b) => a * b, 1);
  return [product(shape.slice(0, axis)), shape[axis]!, product(shape.slice(axis + 1))];
}

/** An empty array that rounds like `data` does: intermediate f32 values where the op table rounds twice. */
export function roundingLike(data: HostArray, length: number): Float32Array | Float64Array {
  return data instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
}
