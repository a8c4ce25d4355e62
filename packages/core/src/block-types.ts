/**
 * GGUF's block types: quantised numbers in records of 32 or 256, each with its own scales.
 *
 * Sizes and layouts are those of ggml (ggml-org/llama.cpp, ggml/src/ggml-common.h), which writes them into GGUF files.
 * All scales are float16, all bytes little-endian. Types whose codebooks are tables of thousands of numbers (IQ1 to IQ3)
 * are not among them.
 */

/** How many numbers a record holds, and its bytes. */
export interface BlockLayout {
  readonly blockSize: number;
  readonly blockBytes: number;
}

/** Every block type that can be decoded, as GGUF spells it. */
export const blockTypes = {
  Q4_0: { blockSize: 32, blockBytes: 18 },
  Q4_1: { blockSize: 32, blockBytes: 20 },
  Q5_0: { blockSize: 32, blockBytes: 22 },
  Q5_1: { blockSize: 32, blockBytes: 24 },
  Q8_0: { blockSize: 32, blockBytes: 34 },
  Q2_K: { blockSize: 256, blockBytes: 84 },
  Q3_K: { blockSize: 256, blockBytes: 110 },
  Q4_K: { blockSize: 256, blockBytes: 144 },
  Q5_K: { blockSize: 256, blockBytes: 176 },
  Q6_K: { blockSize: 256, blockBytes: 210 },
  IQ4_NL: { blockSize: 32, blockBytes: 18 },
} as const satisfies Record<string, BlockLayout>;

export type BlockType = keyof typeof blockTypes;

/** True for a type of `blockTypes`. */
export function isBlockType(name: string): name is BlockType {
  return Object.hasOwn(blockTypes, name);
}
