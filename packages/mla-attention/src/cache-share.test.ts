import { expect, it } from 'vitest';
import { cacheElements, publishedCacheShapes } from './cache-share.ts';

it("prints the latent cache's share of multi-head attention's for every published config", () => {
  const rows = Object.entries(publishedCacheShapes).map(([model, shape]) => {
    const { latent, multiHead, share } = cacheElements(shape);
    return { model, latent, multiHead, share: `${(100 * share).toFixed(1)} %` };
  });
  console.table(rows);
  expect(Object.fromEntries(rows.map(({ model, share }) => [model, share]))).toEqual({
    'DeepSeek-V2-Lite': '11.3 %',
    'DeepSeek-V2': '1.4 %',
    'DeepSeek-V3': '1.4 %',
    'Moonlight-16B-A3B': '11.3 %',
    'Kimi-K2': '2.8 %',
    'GLM-5': '1.8 %',
    'GLM-4.7-Flash': '5.6 %',
  });
});

it('counts the published numbers of a token', () => {
  const latents = Object.values(publishedCacheShapes).map((shape) => cacheElements(shape).latent);
  expect(latents).toEqual([15552, 34560, 35136, 15552, 35136, 44928, 27072]);
  expect(cacheElements(publishedCacheShapes['DeepSeek-V2-Lite']).multiHead).toBe(138240);
  expect(cacheElements(publishedCacheShapes['DeepSeek-V3']).multiHead).toBe(2498560);
});
