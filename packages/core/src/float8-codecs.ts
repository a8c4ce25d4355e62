/**
 * The 8-bit storage types of published FP8 weights, widened to float32, exactly.
 *
 * e4m3 (float8_e4m3fn): sign, 4 bits of exponent with bias 7, 3 bits of mantissa; no infinity, largest 448, least 2^-9;
 * 0x7f and 0xff are NaN. e8m0: an exponent alone, 2^(b - 127), 255 is NaN (OCP Microscaling Formats 1.0, section 5).
 */
import { check } from './errors.ts';

const e4m3 = Float32Array.from({ length: 256 }, (_, code) => {
  const [exponent, mantissa] = [(code >> 3) & 15, code & 7];
  const magnitude =
    (code & 127) === 127
      ? Number.NaN
      : exponent === 0
        ? mantissa * 2 ** -9
        : (1 + mantissa / 8) * 2 ** (exponent - 7);
  return code < 128 ? magnitude : -magnitude;
});
const e8m0 = Float32Array.from({ length: 256 }, (_, code) => (code === 255 ? Number.NaN : 2 ** (code - 127)));

function widen(where: string, table: Float32Array, codes: Uint8Array, out: Float32Array): Float32Array {
  check(
    codes.length === out.length,
    () => `${where}: expected an output of ${codes.length} elements, got ${out.length}`,
  );
  for (let i = 0; i < codes.length; i++) out[i] = table[codes[i]!]!;
  return out;
}

/**
 * Widens e4m3 codes to float32.
 *
 * @param out where to write, of the same length; by default a new array.
 * @example
 * e4m3ToFloat32(Uint8Array.of(0x38, 0x7e, 0x81)); // Float32Array [1, 448, -0.001953125]
 */
export function e4m3ToFloat32(codes: Uint8Array, out = new Float32Array(codes.length)): Float32Array {
  return widen('e4m3ToFloat32', e4m3, codes, out);
}

/**
 * Widens e8m0 codes, powers of two, to float32.
 *
 * @param out where to write, of the same length; by default a new array.
 * @example
 * e8m0ToFloat32(Uint8Array.of(127, 128)); // Float32Array [1, 2]
 */
export function e8m0ToFloat32(codes: Uint8Array, out = new Float32Array(codes.length)): Float32Array {
  return widen('e8m0ToFloat32', e8m0, codes, out);
}
