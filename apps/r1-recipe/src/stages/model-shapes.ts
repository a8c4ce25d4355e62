/**
 * The two models of the recipe: one V3-shaped policy for every stage, and a student of a fifth of its active parameters.
 *
 * Latent attention, a dense first layer, then eight routed experts of which two act, beside a shared one, balanced by
 * a correction bias (DeepSeek-V3, https://arxiv.org/abs/2412.19437, sections 2.1.1 and 2.1.2), at widths that train in
 * minutes on two processor cores.
 */
import { deepseekV3Gate } from '@minke/moe-router';
import type { DeepSeekConfig } from '@minke/transformer';

/** What both shapes share. */
const shared = {
  modelType: 'deepseek_v3',
  numHeads: 4,
  attentionBias: false,
  firstDenseLayers: 1,
  moeLayerFreq: 1,
  mtpLayers: 0,
  normEps: 1e-6,
  ropeTheta: 10_000,
  ropeLayout: 'interleaved',
  yarn: null,
  maxPositions: 512,
  initStd: 0.04,
  tieEmbeddings: false,
  bosTokenId: 0,
  eosTokenIds: [1],
  padTokenId: 2,
} as const satisfies Partial<DeepSeekConfig>;

/** One group: with eight experts there is nothing to limit. */
const gate = { ...deepseekV3Gate, groups: 1, topGroups: 1, experts: 8, topK: 2 } as const;

/** A name of a shape. */
export type ModelShape = 'policy' | 'student';

/** The shape for a vocabulary of so many ids. */
export function modelShape(shape: ModelShape, vocabSize: number): DeepSeekConfig {
  if (shape === 'policy')
    return {
      ...shared,
      vocabSize,
      hiddenSize: 128,
      intermediateSize: 384,
      numLayers: 4,
      qLoraRank: 64,
      kvLoraRank: 48,
      qkNopeHeadDim: 32,
      qkRopeHeadDim: 16,
      vHeadDim: 32,
      moe: { ...gate, expertSize: 144 },
    };
  return {
    ...shared,
    vocabSize,
    hiddenSize: 64,
    intermediateSize: 192,
    numLayers: 3,
    qLoraRank: 32,
    kvLoraRank: 32,
    qkNopeHeadDim: 16,
    qkRopeHeadDim: 8,
    vHeadDim: 16,
    moe: { ...gate, expertSize: 64 },
  };
}
