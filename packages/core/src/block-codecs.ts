/**
 * Conversions between float32 and GGUF's block types: all of `blockTypes` are decoded, Q8_0 and Q4_0 encoded.
 *
 * Decoding is block-decoders.ts. Encoding is ggml's reference quantisation (`quantize_row_q8_0_ref`,
 * `quantize_row_q4_0_ref`) in float32 arithmetic: the numbers are scaled by a rounded reciprocal of the scale before
 * that is rounded to float16.
 */
import { blockDecoders } from './block-decoders.ts';
import { type BlockType, blockTypes } from './block-types.ts';
import { check } from './errors.ts';
import { float32ToFloat16 } from './float-codecs.ts';

const { fround } = Math;

/**
 * Decodes whole blocks.
 *
 * @param bytes a multiple of the type's `blockBytes`.
 * @param out where to write, `blockSize` numbers a block; by default a new array.
 * @throws MinkeError 'invalid-argument' for other lengths.
 * @example
 * dequantizeBlocks('Q8_0', await file.read('blk.0.ffn_up.weight')); // Float32Array
 */
export function dequantizeBlocks(type: BlockType, bytes: Uint8Array, out?: Float32Array): Float32Array {
  const { blockSize, blockBytes } = blockTypes[type];
  const blocks = bytes.length / blockBytes;
  check(
    Number.isInteger(blocks),
    () => `dequantizeBlocks: expected a multiple of ${blockBytes} bytes of ${type}, got ${bytes.length}`,
  );
  const values = out ?? new Float32Array(blocks * blockSize);
  check(
    values.length === blocks * blockSize,
    () => `dequantizeBlocks: expected an output of ${blocks * blockSize} numbers, got ${values.length}`,
  );
  const decode = blockDecoders[type];
  for (let block = 0; block < blocks; block++) decode(bytes, block * blockBytes, values, block * blockSize);
  return values;
}

/**
 * Encodes whole blocks of 32 numbers.
 *
 * @param values a multiple of 32 finite numbers, small enough that their block's scale is a float16.
 * @throws MinkeError 'invalid-argument' for other lengths and numbers.
 * @example
 * quantizeBlocks('Q4_0', new Float32Array(64)); // Uint8Array of 36 bytes
 */
export function quantizeBlocks(type: 'Q8_0' | 'Q4_0', values: Float32Array): Uint8Array {
  const { blockSize, blockBytes } = blockTypes[type];
  check(
    values.length % blockSize === 0,
    () => `quantizeBlocks: expected a multiple of ${blockSize} numbers for ${type}, got ${values.length}`,
  );
  const blocks = values.length / blockSize;
  const scales = new Float32Array(blocks);
  const bytes = new Uint8Array(blocks * blockBytes);
  const encode = type === 'Q8_0' ? encodeQ8 : encodeQ4;
  for (let block = 0; block < blocks; block++) {
    const start = block * blockSize;
    const furthest = furthestFromZero(values, start, blockSize);
    const scale = fround(type === 'Q8_0' ? Math.abs(furthest) / 127 : furthest / -8);
    // As 65520 and above round to infinity.
    check(
      Math.abs(scale) < 65520,
      () => `quantizeBlocks: expected finite numbers with a float16 scale, got ${furthest} in block ${block}`,
    );
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    scales[block] = scale;
    encode(
      values.subarray(start, start + blockSize),
      Number.isFinite(inverse) ? inverse : 0,
      bytes,
      block * blockBytes + 2,
    );
  }
  float32ToFloat16(scales).forEach((bits, block) => {
    bytes[block * blockBytes] = bits & 255;
    bytes[block * blockBytes + 1] = bits >> 8;
  });
  return bytes;
}

/** The first number of largest magnitude; NaN if there is one. */
function furthestFromZero(values: Float32Array, start: number, count: number): number {
  let furthest = 0;
  for (let i = start; i < start + count; i++) {
    const value = values[i]!;
    if (Number.isNaN(value)) return value;
    if (Math.abs(value) > Math.abs(furthest)) furthest = value;
  }
  return furthest;
}

/** Rounds halves away from zero. */
function encodeQ8(values: Float32Array, inverse: number, bytes: Uint8Array, at: number): void {
  for (let i = 0; i < 32; i++) {
    const scaled = fround(values[i]! * inverse);
    const whole = Math.floor(Math.abs(scaled));
    const rounded = whole + Math.floor(2 * (Math.abs(scaled) - whole));
    bytes[at + i] = scaled < 0 ? -rounded : rounded;
  }
}

function encodeQ4(values: Float32Array, inverse: number, bytes: Uint8Array, at: number): void {
  const code = (i: number) => Math.min(15, Math.trunc(fround(fround(values[i]! * inverse) + 8.5)));
  for (let i = 0; i < 16; i++) bytes[at + i] = code(i) | (code(16 + i) << 4);
}
