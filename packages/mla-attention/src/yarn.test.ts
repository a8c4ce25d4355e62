import { describe, expect, it } from 'vitest';
import { ropeTables } from './rope.ts';
import { attentionScale, type YarnConfig, yarnFrequencies, yarnMagnitude, yarnRotaryFactor } from './yarn.ts';

const yarn = (factor: number, mscale?: number, mscaleAllDim = mscale): YarnConfig => ({
  factor,
  originalMaxPositions: 4096,
  betaFast: 32,
  betaSlow: 1,
  ...(mscale !== undefined && { mscale }),
  ...(mscaleAllDim !== undefined && { mscaleAllDim }),
});
/** V2's mscale. */
const published = 707 / 1000;
const relative = (actual: number, expected: number) => Math.abs(actual / expected - 1);

describe('YaRN', () => {
  it("gives DeepSeek-V3's frequencies: kept below index 10, divided by 40 from 23 on, blended between", () => {
    const frequencies = yarnFrequencies(64, 1e4, yarn(40, 1));
    const expected: Record<number, number> = {
      0: 1,
      1: 0.749894209,
      5: 0.237137371,
      10: 0.0562341325,
      11: 0.0390069266,
      15: 0.00833450895,
      16: 0.0055,
      20: 7.90569415e-4,
      22: 1.77827941e-4,
      23: 3.33380358e-5,
      24: 2.5e-5,
      31: 3.33380358e-6,
    };
    for (const [i, value] of Object.entries(expected)) {
      expect(relative(frequencies[Number(i)]!, value), `frequency ${i}`).toBeLessThan(1e-8);
    }
  });

  it('gives the published temperature factors and softmax scales', () => {
    const rows = [
      [40, 1, 1.368887945, 1.873854207, 0.135233779],
      [40, published, 1.260803777, 1.589626165, 0.114721387],
      [32, 1, 1.34657359, 1.813260434, 0.1308608],
      [64, 1, 1.415888308, 2.004739702, 0.144679626],
    ] as const;
    for (const [factor, mscale, magnitude, squared, scale] of rows) {
      const m = yarnMagnitude(factor, mscale);
      expect(relative(m, magnitude)).toBeLessThan(1e-8);
      expect(relative(m * m, squared)).toBeLessThan(1e-8);
      expect(relative(attentionScale(192, yarn(factor, mscale)), scale)).toBeLessThan(1e-8);
    }
    expect(relative(attentionScale(192), 0.0721687836)).toBeLessThan(1e-8);
    expect(attentionScale(256)).toBe(0.0625);
    expect(relative(attentionScale(512), 0.0441941738)).toBeLessThan(1e-8);
    expect(yarnMagnitude(0.5)).toBe(1);
  });

  it('multiplies cos and sin by the ratio of the mscales, or by 0.1 ln s + 1 where they are absent', () => {
    expect(yarnRotaryFactor(yarn(40, 0.7))).toBe(1);
    expect(yarnRotaryFactor(yarn(40, 1, 0.7))).toBeCloseTo(1.368887945 / 1.258221561, 8);
    expect(yarnRotaryFactor(yarn(8))).toBeCloseTo(0.1 * Math.log(8) + 1, 12);
    expect(yarnRotaryFactor({ ...yarn(8), attentionFactor: 1.25 })).toBe(1.25);
    const { cos } = ropeTables({ width: 4, theta: 100, layout: 'half', yarn: yarn(8) }, 1);
    expect(cos[0]).toBe(Math.fround(0.1 * Math.log(8) + 1));
  });

  it('leaves the softmax scale alone without mscaleAllDim', () => {
    expect(attentionScale(192, yarn(40))).toBe(192 ** -0.5);
  });
});
