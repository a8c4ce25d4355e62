/**
 * Settings of soft token merging and dynamic token inflation, and their checks.
 */
import { MinkeError } from '@minke/core';

/**
 * What an entry takes from the tokens before its boundary: their weighted mean by count (`mass`), the same through a
 * learned gate for each channel (`gated`), or nothing (`select`, H-Net's choice).
 */
export type MergeMix = 'mass' | 'gated' | 'select';

/** Settings of a `SoftTokenMerger`. */
export interface MergerConfig {
  /** Width of the tokens' states, D. */
  readonly hiddenSize: number;
  /** A token is a boundary where its probability is at least this, in [0, 1]; at 0 every token is one. Default 0.5. */
  readonly threshold?: number;
  /** Most tokens an entry stands for, at least 1. Default 8. */
  readonly maxRun?: number;
  /** Default `gated`. */
  readonly mix?: MergeMix;
}

/** Settings of a `DynamicTokenInflator`. */
export interface InflatorConfig {
  /** Width of the tokens' states, D. */
  readonly hiddenSize: number;
  /** As that of the merger. Default 8. */
  readonly maxRun?: number;
  /** Mixes each entry's change with that of the entries before it, by boundary probability. Default true. */
  readonly smoothing?: boolean;
  /** A learned scale for each distance from the boundary; without it the change is repeated. Default true. */
  readonly offsets?: boolean;
  /** A learned, gated correction from the token's own state beyond its boundary. Default false. */
  readonly refine?: boolean;
}

/** Throws `invalid-config` with every problem. */
function report(where: string, problems: readonly string[]): void {
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `${where}: expected ${problems.join('; ')}`);
}

const positive = (name: string, value: number): string[] =>
  Number.isSafeInteger(value) && value >= 1 ? [] : [`${name} a whole number of 1 or more, got ${value}`];

/** The settings with their defaults. Throws `invalid-config` naming all problems. */
export function resolveMergerConfig(config: MergerConfig): Required<MergerConfig> {
  const { hiddenSize, threshold = 0.5, maxRun = 8, mix = 'gated' } = config;
  report('SoftTokenMerger', [
    ...positive('hiddenSize', hiddenSize),
    ...(threshold >= 0 && threshold <= 1 ? [] : [`threshold in [0, 1], got ${threshold}`]),
    ...positive('maxRun', maxRun),
    ...(['mass', 'gated', 'select'].includes(mix) ? [] : [`mix mass, gated or select, got ${mix}`]),
  ]);
  return { hiddenSize, threshold, maxRun, mix };
}

/** The settings with their defaults. Throws `invalid-config` naming all problems. */
export function resolveInflatorConfig(config: InflatorConfig): Required<InflatorConfig> {
  const { hiddenSize, maxRun = 8, smoothing = true, offsets = true, refine = false } = config;
  report('DynamicTokenInflator', [...positive('hiddenSize', hiddenSize), ...positive('maxRun', maxRun)]);
  return { hiddenSize, maxRun, smoothing, offsets, refine };
}
