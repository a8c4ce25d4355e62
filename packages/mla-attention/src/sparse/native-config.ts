/** What a layer of native sparse attention is (NSA, arXiv 2502.11089, section 3). */
import { MinkeError } from '@minke/core';

export interface NativeSparseConfig {
  /** Model width D. */
  readonly hiddenSize: number;
  /** Query heads H. */
  readonly numHeads: number;
  /** Key and value heads, dividing H; query heads of one select the same blocks. */
  readonly numKeyValueHeads: number;
  /** Entries of a query and a key, even. */
  readonly headDim: number;
  /** Entries of a value. */
  readonly valueDim: number;
  /** Blocks of `size` tokens, one every `stride`, each compressed by a perceptron of `hidden` units. */
  readonly compression: { readonly size: number; readonly stride: number; readonly hidden: number };
  /** Blocks of `size` tokens of which `count` are attended to, the `initial` first and `local` last ones among them. */
  readonly selection: {
    readonly size: number;
    readonly count: number;
    readonly initial: number;
    readonly local: number;
  };
  /** Last tokens that a query sees, itself among them. */
  readonly window: number;
  /** Base of the rotary frequencies. Default 10000. */
  readonly ropeTheta?: number;
  /** Positions that the rotary tables cover. Default 4096. */
  readonly maxPositions?: number;
}

/** The three ways of attending, in the order of the gates. Each has keys and values of its own. */
export const branches = ['compressed', 'selected', 'window'] as const;

/** Compressed blocks that end among the first `tokens` tokens. */
export function blocksWithin({ compression: { size, stride } }: NativeSparseConfig, tokens: number): number {
  return tokens < size ? 0 : Math.floor((tokens - size) / stride) + 1;
}

/** Returns the config; throws `invalid-config` naming everything that is wrong with it. */
export function validateNativeSparse(config: NativeSparseConfig): NativeSparseConfig {
  const { compression: c, selection: s, numHeads, numKeyValueHeads, headDim } = config;
  const names = ['hiddenSize', 'numHeads', 'numKeyValueHeads', 'headDim', 'valueDim', 'window'] as const;
  const counts: [string, number, number][] = [
    ...names.map((name): [string, number, number] => [name, config[name], 1]),
    ...Object.entries(c).map(([name, n]): [string, number, number] => [`compression.${name}`, n, 1]),
    ['selection.size', s.size, 1],
    ['selection.count', s.count, 1],
    ['selection.initial', s.initial, 0],
    ['selection.local', s.local, 1],
  ];
  const problems = counts
    .filter(([, value, least]) => !Number.isSafeInteger(value) || value < least)
    .map(([name, value, least]) => `${name} an integer of ${least} or more, got ${value}`);
  if (numHeads % numKeyValueHeads !== 0)
    problems.push(`numKeyValueHeads a divisor of numHeads ${numHeads}, got ${numKeyValueHeads}`);
  if (headDim % 2 !== 0) problems.push(`headDim even, got ${headDim}`);
  if (c.size % c.stride !== 0 || s.size % c.stride !== 0 || c.size > s.size)
    problems.push(
      `compression.stride a divisor of both sizes, the compressed one no larger, got ${c.stride} for ${c.size} and ${s.size}`,
    );
  if (s.initial + s.local > s.count)
    problems.push(`selection.count at least initial and local ${s.initial + s.local}, got ${s.count}`);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `nativeSparseAttention: expected ${problems.join('; ')}`);
  return config;
}

/** Names and shapes of the parameters. */
export function nativeSparseParameterShapes(config: NativeSparseConfig): Map<string, readonly number[]> {
  const { hiddenSize: D, numHeads: H, numKeyValueHeads: G, headDim: C, valueDim: V } = config;
  const { size, hidden } = config.compression;
  const shapes = new Map<string, readonly number[]>([['q_proj.weight', [H * C, D]]]);
  for (const branch of branches) {
    shapes.set(`${branch}.k_proj.weight`, [G * C, D]);
    shapes.set(`${branch}.v_proj.weight`, [G * V, D]);
  }
  for (const [name, width] of [
    ['k', C],
    ['v', V],
  ] as const) {
    shapes.set(`compressor.${name}.position`, [size, width]);
    shapes.set(`compressor.${name}.up.weight`, [hidden, size * width]);
    shapes.set(`compressor.${name}.down.weight`, [width, hidden]);
  }
  shapes.set('gate_proj.weight', [3 * H, D]).set('gate_proj.bias', [3 * H]);
  return shapes.set('o_proj.weight', [D, H * V]);
}
