import { presets } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import { countDenseParameters, denseCacheBytes, distillPresets } from './dense.ts';
import { countParameters } from './parameters.ts';

type Model = keyof typeof presets;

describe('parameter counts', () => {
  it.each<[Model, total: number, active: number, withoutEmbedding: string]>([
    ['DeepSeek-V2-Lite', 15_706_484_224, 2_661_150_208, '2.451'],
    ['DeepSeek-V2', 235_741_434_880, 21_375_800_320, '20.852'],
    ['DeepSeek-V3', 671_026_419_200, 37_552_297_472, '36.626'],
    ['DeepSeek-V3.2', 671_877_944_064, 38_403_822_336, '37.477'],
    ['Moonlight-16B-A3B', 15_960_110_208, 2_914_776_192, '2.579'],
    ['Kimi-K2', 1_026_408_232_448, 32_861_500_928, '31.687'],
    ['GLM-5', 743_911_218_432, 41_784_728_832, '40.833'],
    ['GLM-4.7-Flash', 29_943_393_920, 3_896_766_080, '3.580'],
  ])('of %s are exact', (model, total, active, withoutEmbedding) => {
    const counts = countParameters(presets[model]);
    expect(counts.total).toBe(total);
    expect(counts.active).toBe(active);
    expect((counts.activeWithoutEmbedding / 1e9).toFixed(3)).toBe(withoutEmbedding);
  });

  it.each<[Model, attention: number, expert: number, moe: number]>([
    ['DeepSeek-V2-Lite', 13_763_072, 8_650_752, 571_080_704],
    ['DeepSeek-V2', 149_227_520, 23_592_960, 3_822_878_720],
    ['DeepSeek-V3', 187_107_328, 44_040_192, 11_320_164_608],
    ['Moonlight-16B-A3B', 13_763_072, 8_650_752, 571_080_768],
    ['Kimi-K2', 101_124_096, 44_040_192, 16_958_226_816],
    ['GLM-5', 165_022_208, 37_748_736, 9_702_998_272],
    ['GLM-4.7-Flash', 21_759_232, 9_437_184, 613_548_096],
  ])('of the parts of %s are exact', (model, attention, expert, moe) => {
    const counts = countParameters(presets[model]);
    expect([counts.attentionPerLayer, counts.expert, counts.moePerLayer]).toEqual([attention, expert, moe]);
  });

  it('of the sparse-attention indexers are exact', () => {
    expect(countParameters(presets['DeepSeek-V3.2']).indexerPerLayer).toBe(13_959_424);
    expect(countParameters(presets['GLM-5']).indexerPerLayer).toBe(9_371_904);
    expect(countParameters(presets['DeepSeek-V3']).indexerPerLayer).toBe(0);
  });

  it("of V3's MTP module are exact, and make the 685B of its published checkpoint", () => {
    const { total, mtp, mtpStored } = countParameters(presets['DeepSeek-V3']);
    expect(mtp).toBe(11_610_068_224);
    expect(mtpStored).toBe(13_463_426_304);
    expect(((total + mtpStored) / 1e9).toFixed(2)).toBe('684.49');
  });

  it('of a dense model are all active', () => {
    const dense = { ...presets['DeepSeek-V2-Lite'], moe: null };
    const counts = countParameters(dense);
    expect(counts.active).toBe(counts.total);
    expect([counts.expert, counts.moePerLayer]).toEqual([0, 0]);
  });

  it.each([
    ['R1-Distill-Qwen-1.5B', 1_777_088_000, 28_672],
    ['R1-Distill-Qwen-7B', 7_615_616_512, 57_344],
    ['R1-Distill-Qwen-14B', 14_770_033_664, 196_608],
    ['R1-Distill-Qwen-32B', 32_763_876_352, 262_144],
    ['R1-Distill-Llama-8B', 8_030_261_248, 131_072],
    ['R1-Distill-Llama-70B', 70_553_706_496, 327_680],
  ] as const)('and cache bytes of %s are exact', (model, total, bytes) => {
    expect(countDenseParameters(distillPresets[model])).toBe(total);
    expect(denseCacheBytes(distillPresets[model])).toBe(bytes);
  });
});
