/**
 * The element types of the safetensors format, and their conversion to and from float32.
 *
 * Names, widths and order are those of the reference implementation (huggingface/safetensors,
 * safetensors/src/tensor.rs); the order, by rising alignment, decides where a writer puts a tensor. Types
 * narrower than a byte and the 8-bit floats are located and read as bytes, not converted.
 */
import {
  bfloat16ToFloat32,
  dequantizeBlocks,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  isBlockType,
  MinkeError,
} from '@minke/core';

/** Bits of one element, in the reference writer's order. */
const bitsOf = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** An element type as a safetensors header spells it. */
export type SafetensorsDType = keyof typeof bitsOf;

/** All element types, by rising alignment. */
export const safetensorsDTypes = Object.keys(bitsOf) as readonly SafetensorsDType[];

const rankOf = new Map<string, number>(safetensorsDTypes.map((dtype, rank) => [dtype, rank]));

/** True for a type name of the format. */
export function isSafetensorsDType(name: string): name is SafetensorsDType {
  return rankOf.has(name);
}

/** Where the type stands in the writer's order: wider types have higher ranks and come first in a file. */
export function dtypeRank(dtype: SafetensorsDType): number {
  return rankOf.get(dtype)!;
}

/**
 * Bytes of a tensor, or a sentence saying why there is no such tensor (a string, because the caller knows
 * which file and tensor to name).
 */
export function tensorByteLength(dtype: SafetensorsDType, shape: readonly number[]): number | string {
  let elements = 1;
  for (const dimension of shape) {
    elements *= dimension;
    if (!Number.isSafeInteger(elements)) return 'its shape has more than 2^53 elements';
  }
  const bits = elements * bitsOf[dtype];
  if (!Number.isSafeInteger(bits)) return 'its shape has more than 2^53 bits';
  if (bits % 8 !== 0) return `its ${bits} bits are not a whole number of bytes`;
  return bits / 8;
}

/** A typed array as `SafetensorsFile.readTyped` returns it. */
export type TypedArray =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

const typedArrayOf = {
  BOOL: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  F32: Float32Array,
  F64: Float64Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
} as const;

/** Views little-endian bytes as the type's own array: F16 and BF16 as bit patterns, other floats and integers as they are. */
export function asTyped(dtype: string, bytes: Uint8Array, where: string): TypedArray {
  const Type = Object.hasOwn(typedArrayOf, dtype)
    ? typedArrayOf[dtype as keyof typeof typedArrayOf]
    : undefined;
  if (Type === undefined) {
    throw new MinkeError(
      'unsupported',
      `${where}: ${dtype} has no JavaScript array type; use read() for its bytes`,
    );
  }
  const aligned = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes);
  return new Type(
    aligned.buffer as ArrayBuffer,
    aligned.byteOffset,
    aligned.byteLength / Type.BYTES_PER_ELEMENT,
  );
}

/** Converts the bytes of an F32, F16, BF16 or F64 tensor, or of blocks, to float32; F64 rounds to nearest. */
export function toFloat32(dtype: string, bytes: Uint8Array, where: string): Float32Array {
  if (dtype === 'F32') return asTyped(dtype, bytes, where) as Float32Array;
  if (dtype === 'F64') return Float32Array.from(asTyped(dtype, bytes, where) as Float64Array);
  if (dtype === 'F16') return float16ToFloat32(asTyped(dtype, bytes, where) as Uint16Array);
  if (dtype === 'BF16') return bfloat16ToFloat32(asTyped(dtype, bytes, where) as Uint16Array);
  if (isBlockType(dtype)) return dequantizeBlocks(dtype, bytes);
  throw new MinkeError(
    'unsupported',
    `${where}: expected a F32, F16, BF16 or F64 tensor or blocks that can be decoded, got ${dtype}; use read() or readTyped()`,
  );
}

/**
 * Rounds float32 values to a storage type, to nearest even.
 *
 * @returns F32 shares memory with `values`; the others are new arrays, F16 and BF16 as bit patterns.
 * @example
 * const tensor = { dtype: 'BF16', shape: [2], data: fromFloat32('BF16', new Float32Array([1, 2])) } as const;
 */
export function fromFloat32(dtype: 'F32' | 'F16' | 'BF16' | 'F64', values: Float32Array): TypedArray {
  if (dtype === 'F16') return float32ToFloat16(values);
  if (dtype === 'BF16') return float32ToBfloat16(values);
  return dtype === 'F64' ? Float64Array.from(values) : values;
}
