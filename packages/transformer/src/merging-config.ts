/**
 * Where tokens are merged in a model and how, as plain data, and its checks.
 *
 * The layout pre / middle / post is that of Hourglass (arXiv 2110.13711) and H-Net (arXiv 2507.07955): the outer
 * layers see every token, the middle ones one entry for several.
 */
import { MinkeError } from '@minke/core';
import {
  type ConvolutionConfig,
  type InflatorConfig,
  inflatorParameterShapes,
  type MergerConfig,
  mergerParameterShapes,
  routerProblems,
  tokenBitmapProblem,
} from '@minke/tokenizer-merging/merging';
import type { ModelConfig } from './config.ts';
import { isDenseConfig } from './dense-config.ts';
import { show } from './show.ts';

/** Which layers are in the middle, and the settings of what is around them. */
export interface MergingConfig
  extends Omit<MergerConfig, 'hiddenSize'>,
    Omit<InflatorConfig, 'hiddenSize' | 'maxRun'> {
  /** Layers before tokens are merged, at least 1: the router decides by what they say about a token. */
  readonly preLayers: number;
  /** Layers after every token has its own row again. */
  readonly postLayers: number;
  /**
   * Tokens that a causal depthwise convolution between the first layers and the merging spans, 1 (default) for none. 4
   * is what other work takes; at our sizes it decides how soon a model learns to copy.
   */
  readonly convKernel?: number;
  /** Of the router `tokens`: which ids begin an entry, as `tokenBitmapText` writes what `entropyBoundaries` found. */
  readonly boundaryTokens?: string;
  /**
   * What the attention of middle layers adds to the scores of an entry of s tokens, over log s: `learned`, a number for
   * each layer and head that is 0 at first (default), or one for all of them. 1 counts an entry as s tokens, 0 as one.
   */
  readonly sizeBias?: 'learned' | number;
}

/** Throws `invalid-config` naming every problem; returns the config. */
export function validateMerging(
  config: MergingConfig,
  { modelType, numLayers, vocabSize, layerPlan, indexer }: ModelConfig,
): MergingConfig {
  const problems: string[] = [];
  if (isDenseConfig({ modelType })) problems.push(`latent attention in every layer, got ${modelType}`);
  if (layerPlan !== undefined || indexer !== undefined)
    problems.push(`latent attention in every layer, got ${indexer ? 'an indexer' : 'a layer plan'}`);
  const { preLayers, postLayers, threshold, maxRun, mix } = config;
  const count = (name: string, value: unknown, least: number) => {
    const good = Number.isSafeInteger(value) && (value as number) >= least;
    if (!good) problems.push(`${name} an integer of ${least} or more, got ${show(value)}`);
    return good;
  };
  const counts = [count('preLayers', preLayers, 1), count('postLayers', postLayers, 0)];
  if (counts.every(Boolean) && preLayers + postLayers >= numLayers)
    problems.push(
      `preLayers and postLayers to leave one of ${numLayers} layers or more, got ${preLayers} and ${postLayers}`,
    );
  if (threshold !== undefined && !(threshold >= 0 && threshold <= 1))
    problems.push(`threshold from 0 to 1, got ${show(threshold)}`);
  if (maxRun !== undefined) count('maxRun', maxRun, 1);
  if (config.convKernel !== undefined) count('convKernel', config.convKernel, 1);
  const { sizeBias = 'learned' } = config;
  if (sizeBias !== 'learned' && !Number.isFinite(sizeBias))
    problems.push(`sizeBias learned or a finite number, got ${show(sizeBias)}`);
  if (mix !== undefined && !['mass', 'gated', 'select'].includes(mix))
    problems.push(`mix mass, gated or select, got ${show(mix)}`);
  problems.push(...routerProblems(config), ...tokenProblems(config, vocabSize));
  for (const name of ['smoothing', 'offsets', 'refine'] as const)
    if (config[name] !== undefined && typeof config[name] !== 'boolean')
      problems.push(`${name} true or false, got ${show(config[name])}`);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `merging: expected ${problems.join('; ')}`, {
      details: { problems },
    });
  return config;
}

/** What is wrong with the ids that begin an entry. */
function tokenProblems({ router, boundaryTokens }: MergingConfig, vocabSize: number): string[] {
  if (router !== 'tokens')
    return boundaryTokens === undefined ? [] : [`no boundaryTokens with the router ${router ?? 'learned'}`];
  if (typeof boundaryTokens !== 'string')
    return [`boundaryTokens as text with the router tokens, got ${show(boundaryTokens)}`];
  const problem = tokenBitmapProblem(boundaryTokens, vocabSize);
  return problem === null ? [] : [`boundaryTokens ${problem}`];
}

/** Whether middle layers learn how much sizes count. */
export function learnsBias({ sizeBias = 'learned' }: MergingConfig): boolean {
  return sizeBias === 'learned';
}

/** Which layers of the model see entries. */
export function middleLayers({ numLayers }: ModelConfig, { preLayers, postLayers }: MergingConfig): number[] {
  return Array.from({ length: numLayers - preLayers - postLayers }, (_, i) => preLayers + i);
}

/** The settings of the convolution, null where there is none, the merger and the inflator. */
export function partConfigs(
  { hiddenSize }: ModelConfig,
  {
    preLayers: _pre,
    postLayers: _post,
    sizeBias: _bias,
    boundaryTokens: _tokens,
    convKernel = 1,
    ...config
  }: MergingConfig,
): { convolution: ConvolutionConfig | null; merger: MergerConfig; inflator: InflatorConfig } {
  const { threshold, mix, router, tokensPerEntry, seed, smoothing, offsets, refine, ...rest } = config;
  const shared = { ...rest, hiddenSize };
  const given = <T extends object>(settings: T) =>
    Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  return {
    convolution: convKernel > 1 ? { hiddenSize, kernel: convKernel } : null,
    merger: { ...shared, ...given({ threshold, mix, router, tokensPerEntry, seed }) },
    inflator: { ...shared, ...given({ smoothing, offsets, refine }) },
  };
}

/** Names and shapes of what merging adds to a model's parameters, without allocating anything. */
export function mergingParameterShapes(
  config: ModelConfig,
  merging: MergingConfig,
): Map<string, readonly number[]> {
  const { convolution, merger, inflator } = partConfigs(config, merging);
  const shapes = new Map<string, readonly number[]>();
  if (convolution) shapes.set('merging.convolution.weight', [convolution.kernel, convolution.hiddenSize]);
  for (const [name, shape] of mergerParameterShapes(merger)) shapes.set(`merging.merger.${name}`, shape);
  for (const [name, shape] of inflatorParameterShapes(inflator))
    shapes.set(`merging.inflator.${name}`, shape);
  if (learnsBias(merging))
    for (const layer of middleLayers(config, merging))
      shapes.set(`merging.layers.${layer}.size_bias`, [config.numHeads]);
  return shapes;
}
