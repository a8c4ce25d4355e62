/**
 * What a layer of DeepSeek-V4's attention is: a window of raw tokens, and beside it pooled entries of closed windows,
 * all of them (HCA, heavily compressed) or those that an indexer selects (CSA, compressed and sparse).
 */
import { MinkeError } from '@minke/core';
import type { YarnConfig } from '../yarn.ts';

/** Windows of `ratio` tokens, pooled alone; every entry is attended to. V4 has a ratio of 128. */
export interface HeavyCompression {
  readonly kind: 'heavy';
  readonly ratio: number;
}

/** Windows of `ratio` tokens, each pooled with the one before it; `topK` entries are attended to. V4 has a ratio of 4. */
export interface SparseCompression {
  readonly kind: 'sparse';
  readonly ratio: number;
  readonly indexer: {
    /** V4 has 64. */
    readonly heads: number;
    /** Width of an indexer head; V4 has 128. */
    readonly headDim: number;
    /** Entries that a query attends to; V4-Flash has 512, V4-Pro 1024. */
    readonly topK: number;
  };
}

export type Compression = HeavyCompression | SparseCompression;

export interface CompressedAttentionConfig {
  /** Model width D. */
  readonly hiddenSize: number;
  readonly numHeads: number;
  /** Width C of queries and of the one row that is key and value of every head. */
  readonly headDim: number;
  /** Rotated entries, the last of each head. */
  readonly ropeDim: number;
  readonly qLoraRank: number;
  /** Groups of heads that are projected apart before the output. */
  readonly outputGroups: number;
  /** Numbers that each group is projected to. */
  readonly outputLoraRank: number;
  /** Raw tokens that a query sees, itself among them; V4 has 128. */
  readonly window: number;
  /** Null: the window alone. */
  readonly compression: Compression | null;
  /** Base of the frequencies; V4 has 10,000 in layers without compression, else 160,000. */
  readonly ropeTheta: number;
  readonly yarn?: YarnConfig | null;
  /** Of every norm. Default 1e-6. */
  readonly normEps?: number;
  /** Positions that the rotary tables cover. Default 4096. */
  readonly maxPositions?: number;
}

/** Windows that a pooled entry mixes: its own, and in CSA the one before. */
export const windowsOf = ({ kind }: Compression): 1 | 2 => (kind === 'sparse' ? 2 : 1);

/** Returns the config; throws `invalid-config` naming everything that is wrong with it. */
export function validateCompressedAttention(config: CompressedAttentionConfig): CompressedAttentionConfig {
  const { compression: c, numHeads, headDim, ropeDim, outputGroups } = config;
  const names = [
    'hiddenSize',
    'numHeads',
    'headDim',
    'qLoraRank',
    'outputGroups',
    'outputLoraRank',
    'window',
  ] as const;
  const counts: [string, number][] = names.map((name) => [name, config[name]]);
  if (c) counts.push(['compression.ratio', c.ratio]);
  if (c?.kind === 'sparse')
    for (const [name, value] of Object.entries(c.indexer))
      counts.push([`compression.indexer.${name}`, value]);
  const problems = counts
    .filter(([, value]) => !Number.isSafeInteger(value) || value < 1)
    .map(([name, value]) => `${name} a positive integer, got ${value}`);
  const least = c?.kind === 'sparse' ? Math.min(headDim, c.indexer.headDim) : headDim;
  if (!(Number.isSafeInteger(ropeDim) && ropeDim >= 2 && ropeDim % 2 === 0 && ropeDim <= least))
    problems.push(`ropeDim even, from 2 to the width ${least} of a head, got ${ropeDim}`);
  if (numHeads % outputGroups !== 0)
    problems.push(`outputGroups a divisor of numHeads ${numHeads}, got ${outputGroups}`);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `compressedAttention: expected ${problems.join('; ')}`);
  return config;
}

/** Parameters of one pooling, below `prefix`. */
function poolShapes(prefix: string, D: number, compression: Compression, width: number) {
  const both = windowsOf(compression) * width;
  return [
    [`${prefix}kv_proj.weight`, [both, D]],
    [`${prefix}gate_proj.weight`, [both, D]],
    [`${prefix}position_bias`, [compression.ratio, both]],
    [`${prefix}kv_norm.weight`, [width]],
  ] as [string, number[]][];
}

/** Names and shapes of the parameters, as in Hugging Face's `deepseek_v4` below `self_attn.`. */
export function compressedParameterShapes(config: CompressedAttentionConfig): Map<string, readonly number[]> {
  const { hiddenSize: D, numHeads: H, headDim: C, qLoraRank: Q, compression: c } = config;
  const { outputGroups: G, outputLoraRank: O } = config;
  const shapes: [string, readonly number[]][] = [
    ['q_a_proj.weight', [Q, D]],
    ['q_a_norm.weight', [Q]],
    ['q_b_proj.weight', [H * C, Q]],
    ['kv_proj.weight', [C, D]],
    ['kv_norm.weight', [C]],
    ['o_a_proj.weight', [G * O, (H * C) / G]],
    ['o_b_proj.weight', [D, G * O]],
    ['sinks', [H]],
  ];
  if (c) shapes.push(...poolShapes('compressor.', D, c, C));
  if (c?.kind === 'sparse') {
    const { heads, headDim } = c.indexer;
    shapes.push(
      ...poolShapes('compressor.indexer.', D, c, headDim),
      ['compressor.indexer.q_b_proj.weight', [heads * headDim, Q]],
      ['compressor.indexer.scorer.weights_proj.weight', [heads, D]],
    );
  }
  return new Map(shapes);
}
