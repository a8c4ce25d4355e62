/** Memory of a backend, the tensors in it, and the host's copies of its numbers. */
import type { DType, Shape } from './dtype.ts';

/** Host memory of a buffer: f32 as Float32Array, i32 as Int32Array, other types as raw bytes. A reference
 *  backend that computes in f64 hands out Float64Array for f32. */
export type HostArray = Float32Array | Float64Array | Int32Array | Uint8Array;

/** Device memory for `length` elements of one type. Created and released by its backend only. */
export interface BackendBuffer {
  readonly dtype: DType;
  /** Elements. */
  readonly length: number;
}

/** A contiguous row-major tensor inside a buffer, `offset` elements from its start. */
export interface TensorRef {
  readonly buffer: BackendBuffer;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly offset: number;
}
