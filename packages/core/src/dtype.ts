/**
 * Storage types and shapes.
 *
 * Quantised types are blocks: `blockSize` elements share one record of `blockBytes` bytes (GGUF's layouts
 * where they carry a GGUF name). Computation is in f32 (the reference backend can compute in f64).
 */
import { check } from './errors.ts';

interface DTypeInfo {
  /** Stable number used in encoded command lists. */
  readonly code: number;
  readonly blockSize: number;
  readonly blockBytes: number;
}

/** Every storage type the contract carries. */
export const dtypes = {
  f32: { code: 0, blockSize: 1, blockBytes: 4 },
  i32: { code: 1, blockSize: 1, blockBytes: 4 },
  bf16: { code: 2, blockSize: 1, blockBytes: 2 },
  f16: { code: 3, blockSize: 1, blockBytes: 2 },
  i8: { code: 4, blockSize: 1, blockBytes: 1 },
  u8: { code: 5, blockSize: 1, blockBytes: 1 },
  e4m3: { code: 6, blockSize: 1, blockBytes: 1 },
  e8m0: { code: 7, blockSize: 1, blockBytes: 1 },
  q8_0: { code: 8, blockSize: 32, blockBytes: 34 },
  q4_0: { code: 9, blockSize: 32, blockBytes: 18 },
} as const satisfies Record<string, DTypeInfo>;

export type DType = keyof typeof dtypes;

/** Dimensions, outermost first; `[]` is a scalar. Storage is row-major and contiguous. */
export type Shape = readonly number[];

/** Number of elements of `shape`; 1 for a scalar, 0 when any dimension is 0. */
export function elementCount(shape: Shape): number {
  let count = 1;
  for (const size of shape) count *= size;
  return count;
}

/** Bytes that `count` elements of `dtype` occupy. Throws when a block type is not filled exactly. */
export function byteLength(dtype: DType, count: number): number {
  const { blockSize, blockBytes } = dtypes[dtype];
  check(
    count % blockSize === 0,
    () => `byteLength: expected a multiple of ${blockSize} elements of ${dtype}, got ${count}`,
  );
  return (count / blockSize) * blockBytes;
}

/** `[2, 3]`: a shape as it appears in error messages, which may be data in its place: no more than eight sizes. */
export function formatShape(shape: Shape): string {
  const more = shape.length - 8;
  return `[${shape.slice(0, 8).join(', ')}${more > 0 ? `, and ${more} more` : ''}]`;
}

/** True when both shapes have the same rank and sizes. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}
