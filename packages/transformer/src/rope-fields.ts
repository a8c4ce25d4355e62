/**
 * The rotary settings of a config.json, both ways: `rope_scaling` (published) and `rope_parameters` (transformers 5) are
 * both read, `type` and `rope_type` alike.
 */
import type { Llama3RopeConfig, YarnConfig } from '@minke/mla-attention';
import { Fields } from './config-fields.ts';
import { show } from './show.ts';

/** Base and scaling of the rotary frequencies. */
export interface RopeFields {
  readonly ropeTheta: number;
  readonly yarn: YarnConfig | null;
  readonly llama3: Llama3RopeConfig | null;
}

/** Reads them. @param types scalings that the model may have */
export function ropeOf(
  fields: Fields,
  maxPositions: number,
  types: readonly string[] = ['default', 'yarn'],
): RopeFields {
  const source = fields.raw('rope_parameters') != null ? 'rope_parameters' : 'rope_scaling';
  const inner = fields.raw(source) ?? {};
  const none = { yarn: null, llama3: null };
  if (typeof inner !== 'object' || Array.isArray(inner)) {
    fields.problems.push(`${source} an object, got ${show(inner)}`);
    return { ropeTheta: 10000, ...none };
  }
  const rope = new Fields(inner as Record<string, unknown>, `${source}.`, fields.problems);
  const ropeTheta = rope.number('rope_theta', fields.number('rope_theta', 10000));
  const type = rope.text('rope_type', rope.text('type', 'default'));
  if (!types.includes(type)) {
    const expected = `${types.slice(0, -1).join(', ')} or ${types.at(-1)}`;
    fields.problems.push(`${source}.rope_type ${expected}, got ${show(type)}`);
  }
  const scaled = { ropeTheta, ...none };
  if (type === 'yarn') return { ...scaled, yarn: yarnOf(rope, maxPositions) };
  if (type === 'llama3') return { ...scaled, llama3: llama3Of(rope) };
  return scaled;
}

function yarnOf(rope: Fields, maxPositions: number): YarnConfig {
  const originalMaxPositions = rope.number('original_max_position_embeddings');
  const optional = (name: string) => rope.nullable(name, null) ?? undefined;
  const yarn = {
    factor: rope.nullable('factor', null) ?? maxPositions / originalMaxPositions,
    originalMaxPositions,
    betaFast: rope.nullable('beta_fast', null) ?? 32,
    betaSlow: rope.nullable('beta_slow', null) ?? 1,
    mscale: optional('mscale'),
    mscaleAllDim: optional('mscale_all_dim'),
    attentionFactor: optional('attention_factor'),
  };
  const given = Object.fromEntries(Object.entries(yarn).filter(([, value]) => value !== undefined));
  return given as unknown as YarnConfig;
}

function llama3Of(rope: Fields): Llama3RopeConfig {
  return {
    factor: rope.number('factor'),
    lowFreqFactor: rope.number('low_freq_factor'),
    highFreqFactor: rope.number('high_freq_factor'),
    originalMaxPositions: rope.number('original_max_position_embeddings'),
  };
}

/** `rope_scaling` of YaRN. */
export function yarnFields(yarn: YarnConfig): Record<string, unknown> {
  return {
    type: 'yarn',
    factor: yarn.factor,
    original_max_position_embeddings: yarn.originalMaxPositions,
    beta_fast: yarn.betaFast,
    beta_slow: yarn.betaSlow,
    ...(yarn.mscale !== undefined && { mscale: yarn.mscale }),
    ...(yarn.mscaleAllDim !== undefined && { mscale_all_dim: yarn.mscaleAllDim }),
    ...(yarn.attentionFactor !== undefined && { attention_factor: yarn.attentionFactor }),
  };
}

/** `rope_scaling` of Llama 3. */
export function llama3Fields(llama3: Llama3RopeConfig): Record<string, unknown> {
  return {
    rope_type: 'llama3',
    factor: llama3.factor,
    low_freq_factor: llama3.lowFreqFactor,
    high_freq_factor: llama3.highFreqFactor,
    original_max_position_embeddings: llama3.originalMaxPositions,
  };
}
