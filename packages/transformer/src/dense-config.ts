/**
 * The shape of a dense Llama or Qwen2 model as plain data, and its checks: what DeepSeek-R1 was distilled into.
 *
 * Sources: Llama 3, arXiv 2407.21783, section 3.2; Qwen2, arXiv 2407.10671, section 2.2; the config.json of the releases.
 * Both are the same model but for Qwen2's biases on q, k and v. Rotary embedding over the whole head, half-split. Does
 * not do: sliding windows, biases elsewhere.
 */

import type { GqaConfig, Llama3RopeConfig, YarnConfig } from '@minke/mla-attention';
import type { CommonConfig } from './common-config.ts';

/** A Llama or Qwen2 shaped model. Plain data. */
export interface DenseConfig extends CommonConfig {
  /** Family that decides the defaults and the class transformers loads. */
  readonly modelType: 'llama' | 'qwen2';
  /** Rows V of the embedding and the head. */
  readonly vocabSize: number;
  /** Model width D. */
  readonly hiddenSize: number;
  /** Width of the feed-forward layers. */
  readonly intermediateSize: number;
  readonly numLayers: number;
  /** Query heads H. */
  readonly numHeads: number;
  /** Key and value heads, dividing H. */
  readonly numKeyValueHeads: number;
  /** Entries of a head, even; D / H in most models. */
  readonly headDim: number;
  /** Bias on q, k and v: Qwen2. */
  readonly qkvBias: boolean;
  /** Epsilon of the norms. */
  readonly normEps: number;
  readonly ropeTheta: number;
  /** Scaling of the rotary frequencies; at most one of the two. */
  readonly llama3: Llama3RopeConfig | null;
  readonly yarn: YarnConfig | null;
  /** What the DeepSeek family has and these models have not. */
  readonly moe: null;
  readonly mtpLayers: 0;
  readonly layerPlan?: undefined;
  readonly indexer?: undefined;
}

/** Whether a config is of a dense Llama or Qwen2 model. */
export function isDenseConfig(config: { readonly modelType: string }): config is DenseConfig {
  return config.modelType === 'llama' || config.modelType === 'qwen2';
}

/** The attention of every layer. */
export function groupedQueryConfig(config: DenseConfig): GqaConfig {
  const { hiddenSize, numHeads, numKeyValueHeads, headDim, qkvBias } = config;
  const { ropeTheta, llama3, yarn, maxPositions } = config;
  return {
    hiddenSize,
    numHeads,
    numKeyValueHeads,
    headDim,
    qkvBias,
    ropeTheta,
    ropeLayout: 'half',
    llama3,
    yarn,
    maxPositions,
  };
}

/** Largest value each size may have, as in config.ts. */
export const denseBounds: Readonly<Record<string, readonly [least: number, most: number]>> = {
  vocabSize: [1, 2 ** 22],
  hiddenSize: [1, 2 ** 17],
  intermediateSize: [1, 2 ** 20],
  numLayers: [1, 1024],
  numHeads: [1, 4096],
  numKeyValueHeads: [1, 4096],
  headDim: [2, 2 ** 14],
  maxPositions: [1, 2 ** 24],
};
