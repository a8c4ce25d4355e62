/**
 * Blocks of 32 numbers with their scale in front, as kernels and GGUF have them, to and from integers and scales apart,
 * as our quantised checkpoints have them. Copies in units of 16 bits: a block of q8_0 is 17 of them, of q4_0 9.
 */
import { check } from '@minke/core';
import type { QuantizedType } from './quantized-format.ts';

/** 16-bit units of a block, scale included. */
const unitsOf = { q8_0: 17, q4_0: 9 } as const;

/** Integers and f16 scales of blocks. */
export interface SplitBlocks {
  readonly integers: Uint8Array;
  readonly scales: Uint16Array;
}

/**
 * Blocks taken apart.
 * @throws MinkeError 'invalid-argument' for bytes that are no whole blocks
 */
export function splitBlocks(type: QuantizedType, bytes: Uint8Array): SplitBlocks {
  const units = unitsOf[type];
  const count = bytes.length / (2 * units);
  check(
    Number.isInteger(count),
    () => `splitBlocks: expected whole blocks of ${2 * units} bytes, got ${bytes.length} bytes`,
  );
  const from = asUnits(bytes);
  const integers = new Uint16Array(count * (units - 1));
  const scales = new Uint16Array(count);
  let at = 0;
  let to = 0;
  for (let block = 0; block < count; block++) {
    scales[block] = from[at++]!;
    for (let i = 1; i < units; i++) integers[to++] = from[at++]!;
  }
  return { integers: new Uint8Array(integers.buffer), scales };
}

/** Blocks from their parts. @throws MinkeError 'invalid-argument' if they are not of the same blocks */
export function joinBlocks(type: QuantizedType, { integers, scales }: SplitBlocks): Uint8Array {
  const units = unitsOf[type];
  const count = scales.length;
  check(
    integers.length === 2 * count * (units - 1),
    () => `joinBlocks: expected ${2 * count * (units - 1)} bytes of integers, got ${integers.length}`,
  );
  const from = asUnits(integers);
  const blocks = new Uint16Array(count * units);
  let at = 0;
  let to = 0;
  for (let block = 0; block < count; block++) {
    blocks[to++] = scales[block]!;
    for (let i = 1; i < units; i++) blocks[to++] = from[at++]!;
  }
  return new Uint8Array(blocks.buffer);
}

function asUnits(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : new Uint8Array(bytes);
  return new Uint16Array(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / 2);
}
