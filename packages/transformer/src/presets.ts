/**
 * The published models of the family, as plain data.
 *
 * Sources: the config.json of each release (DeepSeek-V2-Lite, V2, V3 / R1 / R1-Zero / V3.1, V3.2-Exp; Moonlight-16B-A3B
 * and Kimi-K2-Instruct by Moonshot AI; GLM-5 and GLM-4.7-Flash by Z.ai). V3.2 and GLM-5 carry a sparse-attention
 * indexer. GLM's rotary base and Kimi's end tokens vary between releases: read the
 * config of the checkpoint you load.
 */
import { deepseekV2Gate, deepseekV2LiteGate, deepseekV3Gate } from '@minke/moe-router';
import type { DeepSeekConfig } from './config.ts';

const base = {
  qkNopeHeadDim: 128,
  qkRopeHeadDim: 64,
  vHeadDim: 128,
  kvLoraRank: 512,
  attentionBias: false,
  moeLayerFreq: 1,
  mtpLayers: 0,
  normEps: 1e-6,
  ropeTheta: 10000,
  ropeLayout: 'interleaved',
  yarn: null,
  initStd: 0.006,
  tieEmbeddings: false,
  padTokenId: null,
} as const satisfies Partial<DeepSeekConfig>;

const yarn = (factor: number, mscale: number) =>
  ({ factor, originalMaxPositions: 4096, betaFast: 32, betaSlow: 1, mscale, mscaleAllDim: mscale }) as const;

const deepseekV2Lite: DeepSeekConfig = {
  ...base,
  modelType: 'deepseek_v2',
  vocabSize: 102400,
  hiddenSize: 2048,
  intermediateSize: 10944,
  numLayers: 27,
  numHeads: 16,
  qLoraRank: null,
  moe: { ...deepseekV2LiteGate, expertSize: 1408, experts: 64, topK: 6 },
  firstDenseLayers: 1,
  // biome-ignore lint/suspicious/noApproximativeNumericConstant: the published value, not the root of 1/2
  yarn: yarn(40, 0.707),
  maxPositions: 163840,
  bosTokenId: 100000,
  eosTokenIds: [100001],
};

const deepseekV2: DeepSeekConfig = {
  ...deepseekV2Lite,
  hiddenSize: 5120,
  intermediateSize: 12288,
  numLayers: 60,
  numHeads: 128,
  qLoraRank: 1536,
  moe: { ...deepseekV2Gate, expertSize: 1536, experts: 160, topK: 6 },
};

const deepseekV3: DeepSeekConfig = {
  ...base,
  modelType: 'deepseek_v3',
  vocabSize: 129280,
  hiddenSize: 7168,
  intermediateSize: 18432,
  numLayers: 61,
  numHeads: 128,
  qLoraRank: 1536,
  moe: { ...deepseekV3Gate, expertSize: 2048, experts: 256, topK: 8 },
  firstDenseLayers: 3,
  mtpLayers: 1,
  yarn: yarn(40, 1),
  maxPositions: 163840,
  bosTokenId: 0,
  eosTokenIds: [1],
};

const moonlight: DeepSeekConfig = {
  ...base,
  modelType: 'deepseek_v3',
  vocabSize: 163840,
  hiddenSize: 2048,
  intermediateSize: 11264,
  numLayers: 27,
  numHeads: 16,
  qLoraRank: null,
  moe: {
    ...deepseekV3Gate,
    groups: 1,
    topGroups: 1,
    sharedExperts: 2,
    scalingFactor: 2.446,
    expertSize: 1408,
    experts: 64,
    topK: 6,
  },
  firstDenseLayers: 1,
  normEps: 1e-5,
  ropeTheta: 50000,
  maxPositions: 8192,
  bosTokenId: 163584,
  eosTokenIds: [163586],
};

const kimiK2: DeepSeekConfig = {
  ...deepseekV3,
  vocabSize: 163840,
  numHeads: 64,
  moe: {
    ...deepseekV3Gate,
    groups: 1,
    topGroups: 1,
    scalingFactor: 2.827,
    expertSize: 2048,
    experts: 384,
    topK: 8,
  },
  firstDenseLayers: 1,
  mtpLayers: 0,
  ropeTheta: 50000,
  yarn: { ...yarn(32, 1), betaFast: 1 },
  maxPositions: 131072,
  bosTokenId: 163584,
  eosTokenIds: [163585],
};

const glm5: DeepSeekConfig = {
  ...base,
  modelType: 'deepseek_v3',
  vocabSize: 154880,
  hiddenSize: 6144,
  intermediateSize: 12288,
  numLayers: 78,
  numHeads: 64,
  qLoraRank: 2048,
  qkNopeHeadDim: 192,
  vHeadDim: 256,
  moe: { ...deepseekV3Gate, groups: 1, topGroups: 1, expertSize: 2048, experts: 256, topK: 8 },
  firstDenseLayers: 3,
  mtpLayers: 1,
  normEps: 1e-5,
  ropeTheta: 1e6,
  maxPositions: 202752,
  bosTokenId: null,
  eosTokenIds: [],
  indexer: { heads: 32, headDim: 128, topK: 2048 },
};

const glm47Flash: DeepSeekConfig = {
  ...base,
  modelType: 'deepseek_v3',
  vocabSize: 154880,
  hiddenSize: 2048,
  intermediateSize: 10240,
  numLayers: 47,
  numHeads: 20,
  qLoraRank: 768,
  qkNopeHeadDim: 192,
  vHeadDim: 256,
  moe: {
    ...deepseekV3Gate,
    groups: 1,
    topGroups: 1,
    scalingFactor: 1.8,
    expertSize: 1536,
    experts: 64,
    topK: 4,
  },
  firstDenseLayers: 1,
  mtpLayers: 1,
  normEps: 1e-5,
  ropeTheta: 1e6,
  maxPositions: 202752,
  bosTokenId: null,
  eosTokenIds: [],
};

/**
 * Published configurations by model. R1, R1-Zero and V3.1 have V3's.
 *
 * @example
 * const config = { ...presets['DeepSeek-V3'], numLayers: 4, hiddenSize: 512 };
 */
export const presets = {
  'DeepSeek-V2-Lite': deepseekV2Lite,
  'DeepSeek-V2': deepseekV2,
  'DeepSeek-V3': deepseekV3,
  'DeepSeek-V3.2': { ...deepseekV3, indexer: { heads: 64, headDim: 128, topK: 2048 } },
  'Moonlight-16B-A3B': moonlight,
  'Kimi-K2': kimiK2,
  'GLM-5': glm5,
  'GLM-4.7-Flash': glm47Flash,
} as const satisfies Record<string, DeepSeekConfig>;
