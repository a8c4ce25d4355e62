import { expect, it } from 'vitest';
import { e4m3ToFloat32, e8m0ToFloat32 } from './float8-codecs.ts';

const all = Uint8Array.from({ length: 256 }, (_, code) => code);

it('widens every e4m3 code: the format has these extremes, and one NaN of each sign', () => {
  const values = e4m3ToFloat32(all);
  const at = (code: number) => values[code];
  expect([at(0x7e), at(0xfe), at(0x08), at(0x01), at(0x38), at(0x00)]).toEqual([
    448,
    -448,
    2 ** -6,
    2 ** -9,
    1,
    0,
  ]);
  expect(Object.is(at(0x80), -0)).toBe(true);
  expect([...all].filter((code) => Number.isNaN(at(code)))).toEqual([0x7f, 0xff]);
  for (let code = 1; code < 0x7f; code++) {
    expect(at(code)).toBeGreaterThan(at(code - 1) as number);
    expect(at(code + 128)).toBe(-(at(code) as number));
  }
});

it('widens e8m0 codes to powers of two, the least a subnormal', () => {
  const values = e8m0ToFloat32(all);
  expect([values[0], values[127], values[254]]).toEqual([2 ** -127, 1, 2 ** 127]);
  expect(values[255]).toBeNaN();
});

it('writes where it is told, and refuses another length', () => {
  const out = new Float32Array(2);
  expect(e8m0ToFloat32(Uint8Array.of(126, 130), out)).toBe(out);
  expect([...out]).toEqual([0.5, 8]);
  expect(() => e4m3ToFloat32(all, out)).toThrow(/expected an output of 256 elements, got 2/);
});
