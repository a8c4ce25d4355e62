/**
 * The tensor types of GGUF files, by the number that stands in the file.
 *
 * Numbers and sizes are ggml's (ggml-org/llama.cpp, ggml/include/ggml.h and ggml-common.h). All can be located, and so
 * read as bytes; `readFloat32` decodes plain floats and the block types of `@minke/core`.
 */
import { blockTypes } from '@minke/core';

interface GgufTypeInfo {
  readonly name: string;
  /** Elements that share a record; a row is a whole number of records. */
  readonly blockSize: number;
  readonly blockBytes: number;
}

const plain = (name: string, blockBytes: number): GgufTypeInfo => ({ name, blockSize: 1, blockBytes });
const block = (name: keyof typeof blockTypes): GgufTypeInfo => ({ name, ...blockTypes[name] });
const other = (name: string, blockSize: number, blockBytes: number): GgufTypeInfo => ({
  name,
  blockSize,
  blockBytes,
});

const types = {
  0: plain('F32', 4),
  1: plain('F16', 2),
  2: block('Q4_0'),
  3: block('Q4_1'),
  6: block('Q5_0'),
  7: block('Q5_1'),
  8: block('Q8_0'),
  9: other('Q8_1', 32, 40),
  10: block('Q2_K'),
  11: block('Q3_K'),
  12: block('Q4_K'),
  13: block('Q5_K'),
  14: block('Q6_K'),
  15: other('Q8_K', 256, 292),
  16: other('IQ2_XXS', 256, 66),
  17: other('IQ2_XS', 256, 74),
  18: other('IQ3_XXS', 256, 98),
  19: other('IQ1_S', 256, 50),
  20: block('IQ4_NL'),
  21: other('IQ3_S', 256, 110),
  22: other('IQ2_S', 256, 82),
  23: other('IQ4_XS', 256, 136),
  24: plain('I8', 1),
  25: plain('I16', 2),
  26: plain('I32', 4),
  27: plain('I64', 8),
  28: plain('F64', 8),
  29: other('IQ1_M', 256, 56),
  30: plain('BF16', 2),
  34: other('TQ1_0', 256, 54),
  35: other('TQ2_0', 256, 66),
  39: other('MXFP4', 32, 17),
} as const satisfies Readonly<Record<number, GgufTypeInfo>>;

/** Formats that ggml had once and no longer reads. */
const retired: Readonly<Record<number, string>> = {
  4: 'Q4_2',
  5: 'Q4_3',
  31: 'Q4_0_4_4',
  32: 'Q4_0_4_8',
  33: 'Q4_0_8_8',
  36: 'IQ4_NL_4_4',
  37: 'IQ4_NL_4_8',
  38: 'IQ4_NL_8_8',
};

/** The type of a number in a file, or a sentence about why there is none. */
export function ggufTypeOf(id: number): GgufTypeInfo | string {
  if (Object.hasOwn(types, id)) return types[id as keyof typeof types];
  const name = retired[id];
  return name === undefined
    ? `its type is ${id}, which this version does not know`
    : `its type is ${name} (${id}), which is retired: convert the model again`;
}
