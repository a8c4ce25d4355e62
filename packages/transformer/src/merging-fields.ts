/**
 * The settings of a model that merges as the field `merging` of config.json, both ways.
 */
import { MinkeError } from '@minke/core';
import type { ModelConfig } from './config.ts';
import { Fields } from './config-fields.ts';
import { type MergingConfig, validateMerging } from './merging-config.ts';
import { show } from './show.ts';

/** The field `merging` of config.json, with every setting. */
export function toMergingFields(config: MergingConfig): Record<string, unknown> {
  const { threshold = 0.5, maxRun = 8, mix = 'gated', sizeBias = 'learned', convKernel = 1 } = config;
  const { smoothing = true, offsets = false, refine = false } = config;
  const { router = 'learned', tokensPerEntry = 2, seed = 0 } = config;
  return {
    ...{ pre_layers: config.preLayers, post_layers: config.postLayers },
    ...{ threshold, max_run: maxRun, mix, size_bias: sizeBias, smoothing, offsets, refine },
    ...(convKernel > 1 && { conv_kernel: convKernel }),
    ...(router !== 'learned' && { router, tokens_per_entry: tokensPerEntry, router_seed: seed }),
    ...(config.boundaryTokens !== undefined && { boundary_tokens: config.boundaryTokens }),
  };
}

/** The field `merging` of a parsed config.json as it stands there; null where there is none. */
export function mergingField(json: unknown): unknown {
  return (typeof json === 'object' && (json as { merging?: unknown } | null)?.merging) || null;
}

/**
 * What a parsed config.json says about merging; null where it says nothing. Throws `invalid-config` with every problem.
 * @param config of the same file
 */
export function parseMergingConfig(json: unknown, config: ModelConfig): MergingConfig | null {
  const inner = mergingField(json);
  if (inner === null) return null;
  if (typeof inner !== 'object' || Array.isArray(inner))
    throw new MinkeError('invalid-config', `config: expected merging an object, got ${show(inner)}`);
  const fields = new Fields(inner as Record<string, unknown>, 'merging.');
  const merging: MergingConfig = {
    preLayers: fields.number('pre_layers'),
    postLayers: fields.number('post_layers'),
    threshold: fields.number('threshold', 0.5),
    maxRun: fields.number('max_run', 8),
    mix: fields.text('mix', 'gated') as NonNullable<MergingConfig['mix']>,
    sizeBias: (fields.raw('size_bias') ?? 'learned') as NonNullable<MergingConfig['sizeBias']>,
    smoothing: fields.flag('smoothing', true),
    offsets: fields.flag('offsets', false),
    refine: fields.flag('refine', false),
    ...(fields.raw('conv_kernel') !== undefined && { convKernel: fields.number('conv_kernel', 1) }),
    ...(fields.raw('router') !== undefined && {
      router: fields.text('router', 'learned') as NonNullable<MergingConfig['router']>,
      tokensPerEntry: fields.number('tokens_per_entry', 2),
      seed: fields.number('router_seed', 0),
    }),
    ...(fields.raw('boundary_tokens') !== undefined && {
      boundaryTokens: fields.text('boundary_tokens', ''),
    }),
  };
  const { problems } = fields;
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `config: expected ${problems.join('; ')}`, {
      details: { problems },
    });
  return validateMerging(merging, config);
}
