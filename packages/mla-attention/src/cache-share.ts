/**
 * How much smaller the latent cache is than keys and values of every head.
 *
 * Source: DeepSeek-V2, arXiv 2405.04434, section 2.1.4 and table 1. Compared with multi-head attention of the same
 * heads: a key of dn + P entries and a value of dv entries for each head. Shapes are those of the published configs.
 */
import type { MlaConfig } from './mla-config.ts';

/** The shapes a cache depends on. */
export type CacheShape = Pick<
  MlaConfig,
  'numHeads' | 'kvLoraRank' | 'qkNopeHeadDim' | 'qkRopeHeadDim' | 'vHeadDim'
> & { readonly layers: number };

/** Numbers a token takes in the cache of all layers. */
export interface CacheElements {
  /** Latent cache: (R + P) x layers. */
  readonly latent: number;
  /** Multi-head attention of the same heads: H (dn + P + dv) x layers. */
  readonly multiHead: number;
  /** latent / multiHead. */
  readonly share: number;
}

/**
 * @example
 * cacheElements(publishedCacheShapes['DeepSeek-V3']).share; // 0.01406: 1.4 % of multi-head attention's
 */
export function cacheElements(shape: CacheShape): CacheElements {
  const latent = (shape.kvLoraRank + shape.qkRopeHeadDim) * shape.layers;
  const head = shape.qkNopeHeadDim + shape.qkRopeHeadDim + shape.vHeadDim;
  const multiHead = shape.numHeads * head * shape.layers;
  return { latent, multiHead, share: latent / multiHead };
}

const deepseekHeads = { kvLoraRank: 512, qkNopeHeadDim: 128, qkRopeHeadDim: 64, vHeadDim: 128 } as const;
const glmHeads = { kvLoraRank: 512, qkNopeHeadDim: 192, qkRopeHeadDim: 64, vHeadDim: 256 } as const;

/** Published models with multi-head latent attention. */
export const publishedCacheShapes = {
  'DeepSeek-V2-Lite': { ...deepseekHeads, numHeads: 16, layers: 27 },
  'DeepSeek-V2': { ...deepseekHeads, numHeads: 128, layers: 60 },
  'DeepSeek-V3': { ...deepseekHeads, numHeads: 128, layers: 61 },
  'Moonlight-16B-A3B': { ...deepseekHeads, numHeads: 16, layers: 27 },
  'Kimi-K2': { ...deepseekHeads, numHeads: 64, layers: 61 },
  'GLM-5': { ...glmHeads, numHeads: 64, layers: 78 },
  'GLM-4.7-Flash': { ...glmHeads, numHeads: 20, layers: 47 },
} as const satisfies Record<string, CacheShape>;
