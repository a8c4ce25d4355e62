/**
 * The shape of a DeepSeek model as plain data, and its checks; those of dense models are in dense-config.ts.
 *
 * One config covers DeepSeek-V2 and V3 and what is shaped like them (R1, Moonlight, Kimi-K2, GLM's MLA models).
 * Bounds are far above any published model: they exist so that a broken file fails with a sentence, not an allocation.
 */

import { MinkeError } from '@minke/core';
import type { Llama3RopeConfig, MlaConfig, YarnConfig } from '@minke/mla-attention';
import { type LayerPlan, layerPlanProblems } from '@minke/mla-attention/hybrid';
import type { MoeConfig } from '@minke/moe-router';
import type { CommonConfig } from './common-config.ts';
import { type DenseConfig, denseBounds, isDenseConfig } from './dense-config.ts';
import { show } from './show.ts';

/** A DeepSeek-V2 or V3 shaped model. Plain data. */
export interface DeepSeekConfig extends CommonConfig {
  /** Family that decides the defaults and the class transformers loads. */
  readonly modelType: 'deepseek_v2' | 'deepseek_v3';
  /** Rows V of the embedding and the head. */
  readonly vocabSize: number;
  /** Model width D. */
  readonly hiddenSize: number;
  /** Width of the dense feed-forward layers. */
  readonly intermediateSize: number;
  /** Transformer layers, MTP modules not counted. */
  readonly numLayers: number;
  readonly numHeads: number;
  /** Width of the query latent; null for a single projection. */
  readonly qLoraRank: number | null;
  /** Width R of the key-value latent. */
  readonly kvLoraRank: number;
  readonly qkNopeHeadDim: number;
  /** Rotary entries P of a head, even. */
  readonly qkRopeHeadDim: number;
  readonly vHeadDim: number;
  /** Bias on q_a_proj, kv_a_proj_with_mqa and o_proj. */
  readonly attentionBias: boolean;
  /** Mixture-of-experts layers; null for a dense model. */
  readonly moe: MoeShape | null;
  /** First layers that are dense even so. */
  readonly firstDenseLayers: number;
  /** Every how many layers one is a mixture, counted from layer 0. Published: 1. */
  readonly moeLayerFreq: number;
  /** Multi-token-prediction modules after the last layer. */
  readonly mtpLayers: number;
  /** Epsilon of the main norms (those of the latents are 1e-6 in every model). */
  readonly normEps: number;
  readonly ropeTheta: number;
  readonly ropeLayout: 'interleaved' | 'half';
  readonly yarn: YarnConfig | null;
  /** Which layers look locally, globally, or both with a learned split. Default: all globally. */
  readonly layerPlan?: LayerPlan;
  /** V3.2's indexer, in every layer: attention to the `topK` tokens that it selects. */
  readonly indexer?: { readonly heads: number; readonly headDim: number; readonly topK: number };
}

/** Any model: of the DeepSeek family, or dense. */
export type ModelConfig = DeepSeekConfig | DenseConfig;

/** A mixture-of-experts layer without the width it shares with the model. */
export type MoeShape = Omit<MoeConfig, 'hiddenSize'>;

/** Whether a layer is a mixture of experts; MTP modules, numbered from `numLayers`, are like the last layers. */
export function isMoeLayer(config: ModelConfig, layer: number): config is DeepSeekConfig {
  return config.moe !== null && layer >= config.firstDenseLayers && layer % config.moeLayerFreq === 0;
}

/** The attention of every layer. */
export function attentionConfig(config: DeepSeekConfig): MlaConfig {
  const { hiddenSize, numHeads, qLoraRank, kvLoraRank, qkNopeHeadDim, qkRopeHeadDim, vHeadDim } = config;
  const { attentionBias, ropeTheta, ropeLayout, yarn, maxPositions } = config;
  return {
    hiddenSize,
    numHeads,
    qLoraRank,
    kvLoraRank,
    qkNopeHeadDim,
    qkRopeHeadDim,
    vHeadDim,
    attentionBias,
    ropeTheta,
    ropeLayout,
    yarn,
    maxPositions,
  };
}

/** Largest value each size may have: far above any published model, far below what would exhaust memory by itself. */
const bounds: Readonly<Record<string, readonly [least: number, most: number]>> = {
  vocabSize: [1, 2 ** 22],
  hiddenSize: [1, 2 ** 17],
  intermediateSize: [1, 2 ** 20],
  numLayers: [1, 1024],
  numHeads: [1, 4096],
  qLoraRank: [1, 2 ** 16],
  kvLoraRank: [1, 2 ** 16],
  qkNopeHeadDim: [1, 2 ** 14],
  qkRopeHeadDim: [2, 2 ** 14],
  vHeadDim: [1, 2 ** 14],
  firstDenseLayers: [0, 1024],
  moeLayerFreq: [1, 1024],
  mtpLayers: [0, 64],
  maxPositions: [1, 2 ** 24],
};
const moeBounds: typeof bounds = {
  expertSize: [1, 2 ** 20],
  experts: [1, 2 ** 16],
  topK: [1, 2 ** 10],
  sharedExperts: [0, 1024],
  groups: [1, 2 ** 16],
  topGroups: [1, 2 ** 16],
};

const indexerBounds: typeof bounds = { heads: [1, 4096], headDim: [2, 2 ** 14], topK: [1, 2 ** 24] };

/** Throws `invalid-config` naming every problem; returns the config. */
export function validateConfig<C extends ModelConfig>(config: C): C {
  const problems = configProblems(config);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `config: expected ${problems.join('; ')}`, {
      details: { problems },
    });
  return config;
}

/** What is wrong with a config, each as `name what was expected, got what`. */
export function configProblems(config: ModelConfig): string[] {
  const problems: string[] = [];
  const checks = checksInto(problems);
  const { within, positive } = checks;
  for (const [name, limits] of Object.entries(isDenseConfig(config) ? denseBounds : bounds)) {
    const value = config[name as keyof ModelConfig] as unknown;
    if (!(name === 'qLoraRank' && value === null)) within(name, value, limits);
  }
  positive('normEps', config.normEps, 1);
  positive('initStd', config.initStd, 10);
  positive('ropeTheta', config.ropeTheta, 1e12);
  if (config.ropeTheta === 1) problems.push('ropeTheta other than 1');
  const tokens = { bosTokenId: config.bosTokenId, padTokenId: config.padTokenId };
  for (const [name, id] of Object.entries(tokens))
    if (id !== null) within(name, id, [0, config.vocabSize - 1]);
  for (const id of config.eosTokenIds) within('eosTokenIds', id, [0, config.vocabSize - 1]);
  const { yarn } = config;
  if (yarn !== null) {
    positive('yarn.factor', yarn.factor, 1e6);
    positive('yarn.originalMaxPositions', yarn.originalMaxPositions, 2 ** 24);
    positive('yarn.betaFast', yarn.betaFast, 1e6);
    positive('yarn.betaSlow', yarn.betaSlow, 1e6);
    for (const name of ['mscale', 'mscaleAllDim', 'attentionFactor'] as const) {
      const value = yarn[name];
      if (value !== undefined && !(Number.isFinite(value) && Math.abs(value) <= 1e3)) {
        problems.push(`yarn.${name} a finite number, got ${show(value)}`);
      }
    }
  }
  if (isDenseConfig(config)) denseProblems(config, problems, checks);
  else deepseekProblems(config, problems, checks);
  return problems;
}

interface Checks {
  within(name: string, value: unknown, limits: readonly [least: number, most: number]): void;
  positive(name: string, value: unknown, most: number): void;
}

function checksInto(problems: string[]): Checks {
  return {
    within(name, value, [least, most]) {
      if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
        problems.push(`${name} an integer from ${least} to ${most}, got ${show(value)}`);
      }
    },
    positive(name, value, most) {
      if (typeof value !== 'number' || !(value > 0 && value <= most)) {
        problems.push(`${name} a number above 0 and at most ${most}, got ${show(value)}`);
      }
    },
  };
}

function denseProblems(config: DenseConfig, problems: string[], { positive }: Checks): void {
  const { numHeads, numKeyValueHeads, headDim, llama3, yarn } = config;
  if (headDim % 2 !== 0) problems.push(`headDim even, got ${show(headDim)}`);
  if (numHeads % numKeyValueHeads !== 0)
    problems.push(`numKeyValueHeads dividing ${show(numHeads)} heads, got ${show(numKeyValueHeads)}`);
  if (llama3 === null) return;
  if (yarn !== null) problems.push('llama3 or yarn, got both');
  for (const name of [
    'factor',
    'lowFreqFactor',
    'highFreqFactor',
  ] as const satisfies (keyof Llama3RopeConfig)[])
    positive(`llama3.${name}`, llama3[name], 1e6);
  positive('llama3.originalMaxPositions', llama3.originalMaxPositions, 2 ** 24);
  if (llama3.highFreqFactor <= llama3.lowFreqFactor)
    problems.push(
      `llama3.highFreqFactor above lowFreqFactor ${llama3.lowFreqFactor}, got ${show(llama3.highFreqFactor)}`,
    );
}

function deepseekProblems(config: DeepSeekConfig, problems: string[], { within, positive }: Checks): void {
  const { moe, layerPlan, indexer } = config;
  if (config.qkRopeHeadDim % 2 !== 0) problems.push(`qkRopeHeadDim even, got ${show(config.qkRopeHeadDim)}`);
  if (!['interleaved', 'half'].includes(config.ropeLayout)) {
    problems.push(`ropeLayout interleaved or half, got ${show(config.ropeLayout)}`);
  }
  if (layerPlan !== undefined)
    problems.push(
      ...layerPlanProblems(layerPlan, config.numLayers).map((problem) => `layerPlan: ${problem}`),
    );
  if (indexer !== undefined) {
    for (const [name, limits] of Object.entries(indexerBounds))
      within(`indexer.${name}`, indexer[name as keyof typeof indexer], limits);
    if (indexer.headDim < config.qkRopeHeadDim)
      problems.push(
        `indexer.headDim of at least qkRopeHeadDim ${config.qkRopeHeadDim}, got ${show(indexer.headDim)}`,
      );
    if (layerPlan !== undefined) problems.push('a layerPlan or an indexer, got both');
  }
  if (moe !== null) {
    for (const [name, limits] of Object.entries(moeBounds))
      within(`moe.${name}`, moe[name as keyof MoeShape], limits);
    if (moe.experts % moe.groups !== 0)
      problems.push(`moe.groups dividing ${moe.experts} experts, got ${moe.groups}`);
    if (moe.topGroups > moe.groups)
      problems.push(`moe.topGroups at most ${moe.groups}, got ${moe.topGroups}`);
    const reachable = (moe.experts / moe.groups) * moe.topGroups;
    if (moe.topK > reachable)
      problems.push(`moe.topK at most ${reachable} (experts in the kept groups), got ${moe.topK}`);
    positive('moe.scalingFactor', moe.scalingFactor, 1e6);
  }
}
