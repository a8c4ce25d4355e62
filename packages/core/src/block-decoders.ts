/**
 * One record of each GGUF block type as float32.
 *
 * The formulas are those of ggml's `dequantize_row_*`. A product of a float16 scale with the integers here fits float32
 * exactly, so only the last operation rounds, and the results are ggml's to the bit. `bytes[at]` is the record's first
 * byte, `out[to]` its first number.
 */
import type { BlockType } from './block-types.ts';
import { float16ToFloat32 } from './float-codecs.ts';

type Decoder = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

const halves = float16ToFloat32(Uint16Array.from({ length: 65536 }, (_, i) => i));

/** The float16 at a byte offset. */
function half(bytes: Uint8Array, at: number): number {
  return halves[bytes[at]! | (bytes[at + 1]! << 8)]!;
}

/** d (q - offset) for 32 nibbles: 16 bytes, the low nibbles first. */
function nibbles(offset: number): Decoder {
  return (bytes, at, out, to) => {
    const d = half(bytes, at);
    for (let i = 0; i < 16; i++) {
      const byte = bytes[at + 2 + i]!;
      out[to + i] = d * ((byte & 15) - offset);
      out[to + 16 + i] = d * ((byte >> 4) - offset);
    }
  };
}

/** d q + m. */
const q4WithMinimum: Decoder = (bytes, at, out, to) => {
  const d = half(bytes, at);
  const m = half(bytes, at + 2);
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 4 + i]!;
    out[to + i] = d * (byte & 15) + m;
    out[to + 16 + i] = d * (byte >> 4) + m;
  }
};

/** The fifth bit of number i is bit i of a 32-bit word before the nibbles. */
function fiveBits(withMinimum: boolean): Decoder {
  return (bytes, at, out, to) => {
    const d = half(bytes, at);
    const high = at + (withMinimum ? 4 : 2);
    const m = withMinimum ? half(bytes, at + 2) : 0;
    const offset = withMinimum ? 0 : 16;
    const bit = (i: number) => ((bytes[high + (i >> 3)]! >> (i & 7)) & 1) << 4;
    const put = (i: number, low: number) => {
      const scaled = d * ((low | bit(i)) - offset);
      out[to + i] = withMinimum ? scaled + m : scaled;
    };
    for (let i = 0; i < 16; i++) {
      const byte = bytes[high + 4 + i]!;
      put(i, byte & 15);
      put(16 + i, byte >> 4);
    }
  };
}

const q8: Decoder = (bytes, at, out, to) => {
  const d = half(bytes, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * ((bytes[at + 2 + i]! << 24) >> 24);
};

/** The sixteen values of IQ4_NL, denser near zero. */
const nonLinear = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const;

const iq4: Decoder = (bytes, at, out, to) => {
  const d = half(bytes, at);
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 2 + i]!;
    out[to + i] = d * nonLinear[byte & 15]!;
    out[to + 16 + i] = d * nonLinear[byte >> 4]!;
  }
};

/** 16 scales and minima of 4 bits, then 2-bit numbers: 32 bytes hold four runs of 32. */
const q2K: Decoder = (bytes, at, out, to) => {
  const d = half(bytes, at + 80);
  const dMin = half(bytes, at + 82);
  for (let run = 0; run < 16; run++) {
    const packed = bytes[at + run]!;
    const [scale, minimum] = [d * (packed & 15), dMin * (packed >> 4)];
    const source = at + 16 + (run >> 3) * 32 + (run & 1) * 16;
    const shift = ((run >> 1) & 3) * 2;
    for (let i = 0; i < 16; i++)
      out[to + run * 16 + i] = scale * ((bytes[source + i]! >> shift) & 3) - minimum;
  }
};

/** 2-bit numbers, a mask whose cleared bits subtract 4, and 16 scales of 6 bits around 32. */
const q3K: Decoder = (bytes, at, out, to) => {
  const d = half(bytes, at + 108);
  for (let run = 0; run < 16; run++) {
    const low = (bytes[at + 96 + (run & 7)]! >> (run < 8 ? 0 : 4)) & 15;
    const high = (bytes[at + 104 + (run & 3)]! >> ((run >> 2) * 2)) & 3;
    const scale = d * ((low | (high << 4)) - 32);
    const within = (run & 1) * 16;
    const source = at + 32 + (run >> 3) * 32 + within;
    const shift = ((run >> 1) & 3) * 2;
    for (let i = 0; i < 16; i++) {
      const kept = (bytes[at + within + i]! >> (run >> 1)) & 1;
      out[to + run * 16 + i] = scale * (((bytes[source + i]! >> shift) & 3) - (kept ? 0 : 4));
    }
  }
};

/** Eight 6-bit scales and eight 6-bit minima in 12 bytes from `at` on: scale, then minimum. */
function sixBits(bytes: Uint8Array, at: number, j: number): readonly [number, number] {
  if (j < 4) return [bytes[at + j]! & 63, bytes[at + 4 + j]! & 63];
  const last = bytes[at + 4 + j]!;
  return [(last & 15) | ((bytes[at + j - 4]! >> 2) & 48), (last >> 4) | ((bytes[at + j]! >> 2) & 48)];
}

/** Nibbles in runs of 32, with or without a fifth bit: d sc q - dMin m. */
function fourOrFiveBitsK(five: boolean): Decoder {
  return (bytes, at, out, to) => {
    const d = half(bytes, at);
    const dMin = half(bytes, at + 2);
    const high = at + 16;
    const quants = five ? high + 32 : high;
    for (let run = 0; run < 8; run++) {
      const [sc, m] = sixBits(bytes, at + 4, run);
      const [scale, minimum] = [d * sc, dMin * m];
      const source = quants + (run >> 1) * 32;
      const shift = (run & 1) * 4;
      for (let i = 0; i < 32; i++) {
        const fifth = five ? ((bytes[high + i]! >> run) & 1) << 4 : 0;
        out[to + run * 32 + i] = scale * (((bytes[source + i]! >> shift) & 15) | fifth) - minimum;
      }
    }
  };
}

/** 4 low and 2 high bits around 32, with 16 scales of 8 bits. */
const q6K: Decoder = (bytes, at, out, to) => {
  const d = half(bytes, at + 208);
  for (let run = 0; run < 16; run++) {
    const scale = d * ((bytes[at + 192 + run]! << 24) >> 24);
    const within = run & 7; // run of 16 inside a half of 128
    const low = at + (run >> 3) * 64 + (within & 3) * 16;
    const high = at + 128 + (run >> 3) * 32 + (within & 1) * 16;
    const [lowShift, highShift] = [within < 4 ? 0 : 4, (within >> 1) * 2];
    for (let i = 0; i < 16; i++) {
      const q = ((bytes[low + i]! >> lowShift) & 15) | (((bytes[high + i]! >> highShift) & 3) << 4);
      out[to + run * 16 + i] = scale * (q - 32);
    }
  }
};

/** Decodes one record of each type. */
export const blockDecoders: Readonly<Record<BlockType, Decoder>> = {
  Q4_0: nibbles(8),
  Q4_1: q4WithMinimum,
  Q5_0: fiveBits(false),
  Q5_1: fiveBits(true),
  Q8_0: q8,
  Q2_K: q2K,
  Q3_K: q3K,
  Q4_K: fourOrFiveBitsK(false),
  Q5_K: fourOrFiveBitsK(true),
  Q6_K: q6K,
  IQ4_NL: iq4,
};
