/**
 * Checks of reads and writes that every backend makes: the part of a buffer, and the kind of host array.
 */
import { type BackendBuffer, check, type DType, dtypes, type HostArray } from '@minke/core';

/** Throws `invalid-argument` unless `count` elements from `offset` are whole blocks inside the buffer. */
export function checkPart(where: string, buffer: BackendBuffer, offset: number, count: number): void {
  const { blockSize } = dtypes[buffer.dtype];
  const whole = (n: number) => Number.isSafeInteger(n) && n >= 0 && n % blockSize === 0;
  check(
    whole(offset) && whole(count) && offset + count <= buffer.length,
    () =>
      `${where}: expected a part of ${buffer.length} ${buffer.dtype}, got ${count} elements from ${offset}`,
  );
}

/** The numbers to store; f64 is rounded to f32. Throws `invalid-argument` for the wrong kind of array. */
export function hostForm(dtype: DType, data: HostArray): HostArray {
  if (dtype === 'f32' && data instanceof Float64Array) return new Float32Array(data);
  const fits =
    dtype === 'f32'
      ? data instanceof Float32Array
      : dtype === 'i32'
        ? data instanceof Int32Array
        : data instanceof Uint8Array;
  check(fits, () => {
    const wanted =
      dtype === 'f32' ? 'a Float32Array' : dtype === 'i32' ? 'an Int32Array' : 'bytes (Uint8Array)';
    return `write: expected ${wanted} for ${dtype}, got ${data.constructor.name}`;
  });
  return data;
}
