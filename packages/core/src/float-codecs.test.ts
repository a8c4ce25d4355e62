import { describe, expect, it } from 'vitest';
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './float-codecs.ts';
import { Random } from './philox.ts';

const everyPattern = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** Random bit patterns: every exponent is equally likely, so subnormals and overflow occur. */
function randomFloats(count: number): Float32Array {
  const random = new Random(11);
  const bits = Uint32Array.from({ length: count }, () => random.uint32());
  return new Float32Array(bits.buffer);
}

/** Nearest pattern by search over all finite values, ties to the even pattern: slow, and obviously right. */
function nearest(value: number, widened: Float32Array, infinity: number, overflowAt: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= overflowAt) return sign | infinity;
  let low = 0;
  let high = infinity - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (widened[middle]! <= magnitude) low = middle;
    else high = middle;
  }
  const below = magnitude - widened[low]!;
  const above = widened[high]! - magnitude;
  return sign | (above < below || (above === below && low & 1) ? high : low);
}

describe.each([
  ['bfloat16', float32ToBfloat16, bfloat16ToFloat32, 0x7f80, (2 - 2 ** -8) * 2 ** 127],
  ['float16', float32ToFloat16, float16ToFloat32, 0x7c00, 65520],
] as const)('%s', (_, narrow, widen, infinity, overflowAt) => {
  const widened = widen(everyPattern);

  it('keeps every pattern through a round trip, NaN staying NaN', () => {
    const back = narrow(widened);
    for (let i = 0; i < 65536; i++) {
      if (Number.isNaN(widened[i])) expect(back[i]! & 0x7fff).toBeGreaterThan(infinity);
      else expect(back[i]).toBe(i);
    }
  });

  it('rounds to nearest, ties to even, as an exhaustive search does', () => {
    const values = randomFloats(20_000);
    const halfway = widened.subarray(0, infinity - 1).map((value, i) => (value + widened[i + 1]!) / 2);
    for (const sample of [values, halfway]) {
      const got = narrow(sample);
      sample.forEach((value, i) => {
        if (Number.isNaN(value)) expect(got[i]! & 0x7fff).toBeGreaterThan(infinity);
        else if (got[i] !== nearest(value, widened, infinity, overflowAt)) {
          expect.fail(`${value}: got ${got[i]}, expected ${nearest(value, widened, infinity, overflowAt)}`);
        }
      });
    }
  });

  it('writes into a given array and refuses one of another length', () => {
    const out = new Uint16Array(2);
    expect(narrow(new Float32Array([1, -1]), out)).toBe(out);
    expect(() => narrow(new Float32Array(3), out)).toThrow(/expected an output of 3 elements, got 2/);
  });
});
