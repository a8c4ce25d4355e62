/**
 * Configuration of a mixture-of-experts layer, and its checks.
 *
 * The three published gates (DeepSeek-V2, arXiv 2405.04434, section 2.2; DeepSeek-V3, arXiv 2412.19437,
 * section 2.1.2) are one parametric gate: how a logit becomes a score, how experts are chosen, how the
 * chosen scores become weights.
 */
import { MinkeError } from '@minke/core';

export interface MoeConfig {
  /** Model width D. */
  readonly hiddenSize: number;
  /** Width of one routed expert's hidden layer. */
  readonly expertSize: number;
  /** Routed experts E. */
  readonly experts: number;
  /** Experts per token K. */
  readonly topK: number;
  /** Shared experts; together they are one SwiGLU of width sharedExperts x expertSize. 0 for none. */
  readonly sharedExperts: number;
  /** Expert groups (devices or nodes); 1 for ungrouped selection. */
  readonly groups: number;
  /** Groups a token may use. */
  readonly topGroups: number;
  /** How a gate logit becomes a score. */
  readonly scoring: 'softmax' | 'sigmoid';
  /**
   * `greedy`: the K best scores. `group_limited_greedy`: the same within the groups of best maximum (V2).
   * `noaux_tc`: scores plus a correction bias choose, groups by the sum of their two best (V3).
   */
  readonly method: 'greedy' | 'group_limited_greedy' | 'noaux_tc';
  /** Divide the chosen scores by their sum + 1e-20. */
  readonly normTopK: boolean;
  /** Factor on the weights, applied once, after normalisation. */
  readonly scalingFactor: number;
}

/** V2-Lite's gate: softmax, greedy. */
export const deepseekV2LiteGate = {
  scoring: 'softmax',
  method: 'greedy',
  groups: 1,
  topGroups: 1,
  normTopK: false,
  scalingFactor: 1,
  sharedExperts: 2,
} as const satisfies Partial<MoeConfig>;

/** V2's gate: softmax, limited to 3 of 8 groups. */
export const deepseekV2Gate = {
  scoring: 'softmax',
  method: 'group_limited_greedy',
  groups: 8,
  topGroups: 3,
  normTopK: false,
  scalingFactor: 16,
  sharedExperts: 2,
} as const satisfies Partial<MoeConfig>;

/** V3's and R1's gate: sigmoid with a selection-only bias, 4 of 8 groups. */
export const deepseekV3Gate = {
  scoring: 'sigmoid',
  method: 'noaux_tc',
  groups: 8,
  topGroups: 4,
  normTopK: true,
  scalingFactor: 2.5,
  sharedExperts: 1,
} as const satisfies Partial<MoeConfig>;

/** Throws `invalid-config` naming every problem; returns the config. */
export function validateMoeConfig(config: MoeConfig): MoeConfig {
  const problems: string[] = [];
  const positive = ['hiddenSize', 'expertSize', 'experts', 'topK', 'groups', 'topGroups'] as const;
  for (const name of positive) {
    const value = config[name];
    if (!Number.isSafeInteger(value) || value < 1) problems.push(`${name} a positive integer, got ${value}`);
  }
  if (!Number.isSafeInteger(config.sharedExperts) || config.sharedExperts < 0) {
    problems.push(`sharedExperts a non-negative integer, got ${config.sharedExperts}`);
  }
  if (problems.length === 0) {
    if (config.experts % config.groups !== 0) {
      problems.push(`groups dividing experts, got ${config.groups} and ${config.experts}`);
    }
    if (config.topGroups > config.groups) {
      problems.push(`topGroups at most groups, got ${config.topGroups} of ${config.groups}`);
    }
    const reachable = (config.experts / config.groups) * config.topGroups;
    if (config.topK > reachable)
      problems.push(`topK at most ${reachable} (experts in the kept groups), got ${config.topK}`);
  }
  if (!['softmax', 'sigmoid'].includes(config.scoring))
    problems.push(`scoring softmax or sigmoid, got ${config.scoring}`);
  if (!['greedy', 'group_limited_greedy', 'noaux_tc'].includes(config.method)) {
    problems.push(`method greedy, group_limited_greedy or noaux_tc, got ${config.method}`);
  }
  if (config.method === 'greedy' && config.groups !== 1)
    problems.push(`groups 1 for greedy, got ${config.groups}`);
  if (!Number.isFinite(config.scalingFactor))
    problems.push(`scalingFactor a finite number, got ${config.scalingFactor}`);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `moeRouter: expected ${problems.join('; ')}`);
  return config;
}
