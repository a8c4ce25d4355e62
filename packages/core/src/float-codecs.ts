/**
 * Conversions between float32 and the 16-bit storage types bfloat16 and float16 (IEEE 754 binary16).
 *
 * Narrowing rounds to nearest, ties to even, as PyTorch and the hardware do; overflow gives infinity, float16
 * subnormals are kept, a NaN stays a (quiet) NaN with the upper bits of its payload. Widening is exact.
 */
import { check } from './errors.ts';

const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

/** The bit patterns of `values`, without a copy. */
function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

function checkLength(where: string, expected: number, got: number): void {
  check(expected === got, () => `${where}: expected an output of ${expected} elements, got ${got}`);
}

/**
 * Rounds float32 values to bfloat16 bit patterns.
 *
 * @param out where to write, of the same length; by default a new array.
 * @example
 * float32ToBfloat16(new Float32Array([1, -2])); // Uint16Array [0x3f80, 0xc000]
 */
export function float32ToBfloat16(values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  checkLength('float32ToBfloat16', values.length, out.length);
  const bits = bitsOf(values);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!;
    const nan = (word & 0x7fffffff) > 0x7f800000;
    out[i] = nan ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** Widens bfloat16 bit patterns to float32, exactly. See {@link float32ToBfloat16}. */
export function bfloat16ToFloat32(values: Uint16Array, out = new Float32Array(values.length)): Float32Array {
  checkLength('bfloat16ToFloat32', values.length, out.length);
  const bits = bitsOf(out);
  for (let i = 0; i < values.length; i++) bits[i] = values[i]! << 16;
  return out;
}

function halfBits(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and above round to infinity
  if (magnitude >= 0x38800000) {
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  // Subnormal: a multiple of 2^-24, counted by the mantissa shifted right.
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return sign;
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && kept & 1) ? 1 : 0));
}

/**
 * Rounds float32 values to float16 bit patterns.
 *
 * @param out where to write, of the same length; by default a new array.
 * @example
 * float32ToFloat16(new Float32Array([1, 65520])); // Uint16Array [0x3c00, 0x7c00]
 */
export function float32ToFloat16(values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  checkLength('float32ToFloat16', values.length, out.length);
  const bits = bitsOf(values);
  for (let i = 0; i < bits.length; i++) out[i] = halfBits(bits[i]!);
  return out;
}

/** Widens float16 bit patterns to float32, exactly. See {@link float32ToFloat16}. */
export function float16ToFloat32(values: Uint16Array, out = new Float32Array(values.length)): Float32Array {
  checkLength('float16ToFloat32', values.length, out.length);
  const bits = bitsOf(out);
  for (let i = 0; i < values.length; i++) {
    const half = values[i]!;
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 0x1f;
    const mantissa = half & 0x3ff;
    if (exponent === 0) {
      scratchFloat[0] = mantissa * 2 ** -24;
      bits[i] = sign | scratchBits[0]!;
    } else if (exponent === 31) {
      bits[i] = sign | 0x7f800000 | (mantissa << 13);
    } else {
      bits[i] = sign | ((exponent + 112) << 23) | (mantissa << 13);
    }
  }
  return out;
}
