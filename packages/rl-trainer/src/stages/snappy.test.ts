import { MinkeError, Random } from '@minke/core';
import { expect, it } from 'vitest';
import { unsnappy } from './snappy.ts';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const ascii = (letters: string) => [...letters].map((letter) => letter.charCodeAt(0));

it('copies literals and what came before, overlapping too', () => {
  // "abcd", then 8 bytes from 4 back (2-byte offset), then 5 from 1 back (1-byte offset), then 4 from 17 back.
  const bytes = [
    21,
    3 << 2,
    ...ascii('abcd'),
    (7 << 2) | 2,
    4,
    0,
    (1 << 2) | 1,
    1,
    (3 << 2) | 3,
    17,
    0,
    0,
    0,
  ];
  expect(text(unsnappy(Uint8Array.from(bytes), 21))).toBe('abcdabcdabcddddddabcd');
  const long = 'x'.repeat(70);
  expect(text(unsnappy(Uint8Array.from([70, 60 << 2, 69, ...ascii(long)]), 70))).toBe(long);
  expect(unsnappy(Uint8Array.of(0), 0)).toHaveLength(0);
});

it('refuses what is damaged, with a typed error, and always ends', () => {
  const whole = [12, 3 << 2, ...ascii('abcd'), (7 << 2) | 2, 4, 0];
  expect(text(unsnappy(Uint8Array.from(whole), 12))).toBe('abcdabcdabcd');
  const random = new Random(4);
  for (let trial = 0; trial < 5000; trial++) {
    const bytes = Uint8Array.from(whole);
    for (let flip = 0; flip <= trial % 3; flip++)
      bytes[random.integer(0, bytes.length)] = random.integer(0, 256);
    const part = trial % 4 === 0 ? bytes.subarray(0, random.integer(0, bytes.length)) : bytes;
    try {
      expect(unsnappy(part, 12)).toHaveLength(12);
    } catch (error) {
      expect(error).toSatisfy(MinkeError.isInstance);
    }
  }
  // A literal of 2^32 bytes, a copy from before the beginning, a length that the page does not have.
  for (const bytes of [
    [12, 63 << 2, 255, 255, 255, 255],
    [12, (7 << 2) | 2, 4, 0],
    [13, 0, 97],
    [255, 255, 255, 255, 255, 255],
  ])
    expect(() => unsnappy(Uint8Array.from(bytes), 12)).toThrow(/snappy: expected whole compressed bytes/);
});
