/**
 * For tests: a language model small enough for the reference backend, V3-shaped (query LoRA, grouped sigmoid
 * gate, shared expert, first layer dense), with random weights large enough to make its choices differ.
 */
import { type Backend, Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { deepseekV3Gate } from '@minke/moe-router';
import { Arena } from '@minke/tensor';
import { deepseekR1Template, deepseekSpecialTokens, deepseekTokens } from '@minke/tokenizer-merging/chat';
import { type Tokenizer, trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { type DeepSeekConfig, DeepSeekModel } from '@minke/transformer';
import type { LanguageModel } from '../language-model.ts';

/** A tokenizer over a few lines: control tokens, the 256 bytes, some merges. */
export function testTokenizer(): Tokenizer {
  const lines = ['What is 12 + 34?', 'I add the tens and the ones.', 'The answer is 46.'];
  return trainBpe(lines, { vocabSize: 300, specialTokens: deepseekSpecialTokens, minFrequency: 1 });
}

export function testConfig(vocabSize: number): DeepSeekConfig {
  return {
    modelType: 'deepseek_v3',
    vocabSize,
    hiddenSize: 24,
    intermediateSize: 40,
    numLayers: 2,
    numHeads: 2,
    qLoraRank: 12,
    kvLoraRank: 10,
    qkNopeHeadDim: 6,
    qkRopeHeadDim: 4,
    vHeadDim: 6,
    attentionBias: false,
    moe: { ...deepseekV3Gate, expertSize: 10, experts: 4, topK: 2, groups: 2, topGroups: 2 },
    firstDenseLayers: 1,
    moeLayerFreq: 1,
    mtpLayers: 0,
    normEps: 1e-6,
    ropeTheta: 10000,
    ropeLayout: 'interleaved',
    yarn: null,
    maxPositions: 160,
    initStd: 0.4,
    tieEmbeddings: false,
    bosTokenId: 0,
    eosTokenIds: [1],
    padTokenId: 2,
  };
}

export function testLanguage({
  seed = 1,
  backend = createReference(),
}: {
  seed?: number;
  backend?: Backend;
} = {}): LanguageModel {
  const tokenizer = testTokenizer();
  const arena = new Arena(backend, { persistent: true });
  const model = DeepSeekModel.init(testConfig(tokenizer.vocabSize), { arena, random: new Random(seed) });
  return {
    model,
    tokenizer,
    template: deepseekR1Template,
    stopTokenIds: [tokenizer.tokenToId(deepseekTokens.eos) as number],
    sampling: { temperature: 1, topP: 1, topK: 0, minP: 0 },
  };
}
