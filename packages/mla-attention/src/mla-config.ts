/** Multi-head latent attention as plain data: its config, what that asks for, and what is wrong with it. */
import { MinkeError } from '@minke/core';
import type { Arena } from '@minke/tensor';
import { type RopeLayout, RopeTable } from './rope.ts';
import type { YarnConfig } from './yarn.ts';

export interface MlaConfig {
  /** Model width D. */
  readonly hiddenSize: number;
  /** Heads H. */
  readonly numHeads: number;
  /** Width of the query latent, or null for a single query projection. */
  readonly qLoraRank: number | null;
  /** Width R of the key-value latent. */
  readonly kvLoraRank: number;
  /** Entries of a query or key head without position. */
  readonly qkNopeHeadDim: number;
  /** Rotary entries P of a query head, and width of the one rotary key all heads share. Even. */
  readonly qkRopeHeadDim: number;
  /** Entries of a value head. */
  readonly vHeadDim: number;
  /** Base of the rotary frequencies. Default 10000. */
  readonly ropeTheta?: number;
  /** Pairing of the rotary entries. Default `interleaved`, as DeepSeek checkpoints are. */
  readonly ropeLayout?: RopeLayout;
  /** Long-context frequencies and scale. Default none. */
  readonly yarn?: YarnConfig | null;
  /** Positions to make rotary tables for. Default 4096. */
  readonly maxPositions?: number;
  /** Bias on q_a_proj, kv_a_proj_with_mqa and o_proj. Default false. */
  readonly attentionBias?: boolean;
  /** Replaces the softmax scale (qkNopeHeadDim + qkRopeHeadDim)^-0.5 times YaRN's factor. */
  readonly softmaxScale?: number;
  /** Epsilon of the two latent norms. Default 1e-6, which no published config changes. */
  readonly latentNormEps?: number;
}

/** Returns the config; throws `invalid-config` naming everything that is wrong with it. */
export function validateMla(config: MlaConfig): MlaConfig {
  const problems: string[] = [];
  const sizes = [
    'hiddenSize',
    'numHeads',
    'kvLoraRank',
    'qkNopeHeadDim',
    'qkRopeHeadDim',
    'vHeadDim',
  ] as const;
  for (const name of sizes) {
    if (!Number.isSafeInteger(config[name]) || config[name] < 1) {
      problems.push(`${name} a positive integer, got ${config[name]}`);
    }
  }
  const { qLoraRank, qkRopeHeadDim } = config;
  if (qLoraRank !== null && (!Number.isSafeInteger(qLoraRank) || qLoraRank < 1)) {
    problems.push(`qLoraRank a positive integer or null, got ${qLoraRank}`);
  }
  if (qkRopeHeadDim % 2 !== 0) problems.push(`qkRopeHeadDim even, got ${qkRopeHeadDim}`);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `mlaAttention: expected ${problems.join('; ')}`);
  return config;
}

/** Names and shapes of the parameters, as in Hugging Face checkpoints below `self_attn.`. */
export function mlaParameterShapes(config: MlaConfig): Map<string, readonly number[]> {
  const { hiddenSize: D, numHeads: H, qLoraRank, kvLoraRank: R, qkRopeHeadDim: P } = config;
  const queryWidth = H * (config.qkNopeHeadDim + P);
  const shapes = new Map<string, readonly number[]>();
  const bias = (name: string, size: number) => config.attentionBias && shapes.set(`${name}.bias`, [size]);
  if (qLoraRank === null) shapes.set('q_proj.weight', [queryWidth, D]);
  else {
    shapes.set('q_a_proj.weight', [qLoraRank, D]);
    bias('q_a_proj', qLoraRank);
    shapes.set('q_a_layernorm.weight', [qLoraRank]);
    shapes.set('q_b_proj.weight', [queryWidth, qLoraRank]);
  }
  shapes.set('kv_a_proj_with_mqa.weight', [R + P, D]);
  bias('kv_a_proj_with_mqa', R + P);
  shapes.set('kv_a_layernorm.weight', [R]);
  shapes.set('kv_b_proj.weight', [H * (config.qkNopeHeadDim + config.vHeadDim), R]);
  shapes.set('o_proj.weight', [D, H * config.vHeadDim]);
  bias('o_proj', D);
  return shapes;
}

/** The rotary tables an MLA config asks for, in a persistent arena; layers of a model share them. */
export function mlaRope(config: MlaConfig, arena: Arena): RopeTable {
  const {
    qkRopeHeadDim: width,
    ropeTheta: theta = 10000,
    ropeLayout: layout = 'interleaved',
    yarn = null,
  } = config;
  return RopeTable.create(arena, { width, theta, layout, yarn }, config.maxPositions ?? 4096);
}
