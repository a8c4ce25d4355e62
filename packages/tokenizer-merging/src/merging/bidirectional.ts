/**
 * Training-free merging for encoders: similar tokens anywhere in a sequence become their mean, in the order of the
 * tokens that stay.
 *
 * Matching is ToMe's or PiToMe's (`matching.ts`), means are weighted by size and anchored at the token that stays.
 * ToMe puts the tokens that proposed first; here order is kept, so positions mean what they meant. `mlerp` gives a
 * mean the largest norm of its members (ToFu, WACV 2024), because averages are short. Attention that adds the log of
 * sizes to its scores counts merged tokens as often as they were.
 *
 * A merged token mixes later ones into earlier places. So a causal model may only use it where nothing but the last
 * position's output counts: the scope `lastPositionOnly` gives no way back to the tokens.
 */
import { check, MinkeError } from '@minke/core';
import { add, div, maximum, mul, sqrt, square, sub, sum, type Tensor } from '@minke/tensor';
import { energies, type MergeAmount, matchRows, unitRows } from './matching.ts';
import { chooseRows, column, segmentSum, takeRows } from './rows.ts';

/** How tokens merge: one of `count`, `ratio` and `threshold`, and what is below. */
export interface BidirectionalOptions extends MergeAmount {
  /** What is compared, [B, T, C]: ToMe takes the mean of the heads' keys. Default x. */
  readonly metric?: Tensor;
  /** 1 for tokens that neither merge nor receive, [B T]: class and control tokens. */
  readonly protect?: ArrayLike<number>;
  /** Tokens each token stands for already, [B T]. Default 1. */
  readonly size?: ArrayLike<number>;
  /** Chooses tokens by PiToMe's energy with this margin, in place of every second one. Not with `threshold`. */
  readonly energyMargin?: number;
  /** Default `mean`. */
  readonly mix?: 'mean' | 'mlerp';
}

/** Tokens of an encoder, merged: N rows that remain, B sequences of T tokens. */
export interface EncoderMerge {
  /** Rows mix later tokens into earlier places: not for outputs of a causal model, token by token. */
  readonly causal: false;
  readonly scope: 'encoder';
  /** [N, D], the sequences one after another. */
  readonly merged: Tensor;
  /** Rows of sequence b are offsets[b] to offsets[b + 1], [B + 1]. */
  readonly offsets: Int32Array;
  /** Place of each row in its sequence, ascending, [N]. */
  readonly position: Int32Array;
  readonly size: Float32Array;
  readonly logSize: Float32Array;
  /** Row of each token, [B T]. */
  readonly source: Int32Array;
  /** Copies rows y [N, F] back to their tokens, [B, T, F]. */
  unmerge(y: Tensor): Tensor;
}

/** A prompt merged for its last position's output: there is no way back to the tokens. */
export type LastPositionMerge = Omit<EncoderMerge, 'scope' | 'source' | 'unmerge'> & {
  readonly scope: 'lastPositionOnly';
  /** Row of each sequence's last token, [B]. */
  readonly lastRow: Int32Array;
};

/**
 * Merges tokens of x [B, T, D].
 *
 * @example
 * const merge = await mergeBidirectional(x, { ratio: 0.25, energyMargin: 0.5 });
 * const y = add(x, merge.unmerge(block(merge.merged, merge.logSize))); // details stay in x
 */
export async function mergeBidirectional(x: Tensor, options: BidirectionalOptions): Promise<EncoderMerge> {
  const { metric = x, protect, mix = 'mean', energyMargin } = options;
  const [B, T, D] = checked(x, metric, options);
  const metricRows = metric.reshape([B * T, -1]);
  const into = Array.from({ length: B * T }, (_, row) => row);
  for (let b = 0; b < B; b++) {
    const unit = unitRows(metricRows.rows(b * T, (b + 1) * T));
    const energy = energyMargin === undefined ? null : await energies(unit, energyMargin).read();
    const free = Array.from({ length: T }, (_, t) => t).filter((t) => !protect?.[b * T + t]);
    for (const match of await matchRows(unit, free, options, energy))
      into[b * T + match.from] = b * T + match.into;
  }
  const kept = into.filter((target, row) => target === row);
  const rowOf = new Map(kept.map((row, n) => [row, n]));
  const source = Int32Array.from(into, (target) => rowOf.get(target) as number);
  const sizes = Float64Array.from({ length: B * T }, (_, row) => options.size?.[row] ?? 1);
  const size = new Float32Array(kept.length);
  source.forEach((row, token) => {
    size[row] = (size[row] as number) + (sizes[token] as number);
  });
  const rows = x.reshape([B * T, D]);
  const offsets = new Int32Array(B + 1);
  for (let b = 0; b < B; b++) offsets[b + 1] = kept.filter((row) => row < (b + 1) * T).length;
  return {
    causal: false,
    scope: 'encoder',
    merged: await mergedRows(rows, into, kept, source, sizes, size, mix),
    offsets,
    position: Int32Array.from(kept, (row) => row % T),
    size,
    logSize: size.map(Math.log),
    source,
    unmerge: (y) => takeRows(y, source).reshape([B, T, y.shape[1] as number]),
  };
}

/** `mergeBidirectional` of prompts whose last position alone counts; the last token is kept as it is. */
export async function mergeForLastPosition(
  x: Tensor,
  options: BidirectionalOptions,
): Promise<LastPositionMerge> {
  const [B, T] = x.shape as [number, number];
  const protect = Uint8Array.from({ length: B * T }, (_, row) =>
    row % T === T - 1 || options.protect?.[row] ? 1 : 0,
  );
  const { source, unmerge: _, ...merge } = await mergeBidirectional(x, { ...options, protect });
  const lastRow = Int32Array.from({ length: B }, (__, b) => source[(b + 1) * T - 1] as number);
  return { ...merge, scope: 'lastPositionOnly', lastRow };
}

/** Means of the rows that merged, weighted by size. */
async function mergedRows(
  rows: Tensor,
  into: readonly number[],
  kept: readonly number[],
  source: Int32Array,
  sizes: Float64Array,
  size: Float32Array,
  mix: 'mean' | 'mlerp',
): Promise<Tensor> {
  const { arena } = rows;
  const anchors = takeRows(rows, kept);
  const alone = kept.map(() => 1);
  into.forEach((target, row) => {
    if (target !== row) alone[source[row] as number] = 0;
  });
  if (alone.every(Boolean)) return anchors;
  const share = Array.from(sizes, (own, row) => own / (size[source[row] as number] as number));
  const differences = mul(sub(rows, takeRows(rows, into)), column(arena, share));
  let mean = add(anchors, segmentSum(differences, source, kept.length));
  if (mix === 'mlerp') {
    const norm = (t: Tensor) => sqrt(maximum(sum(square(t), 1), 1e-24));
    const own = await norm(rows).read();
    const largest = new Float64Array(kept.length);
    source.forEach((row, token) => {
      largest[row] = Math.max(largest[row] as number, own[token] as number);
    });
    mean = mul(mean, div(column(arena, largest), norm(mean).reshape([-1, 1])));
  }
  return chooseRows(alone, anchors, mean);
}

/** [B, T, D], or all problems. */
function checked(
  x: Tensor,
  metric: Tensor,
  options: BidirectionalOptions,
): readonly [number, number, number] {
  check(x.rank === 3, () => `mergeBidirectional: expected x [B, T, D], got [${x.shape.join(', ')}]`);
  const [B, T, D] = x.shape as [number, number, number];
  const { count, ratio, threshold, protect, size, energyMargin } = options;
  const amounts = [count, ratio, threshold].filter((amount) => amount !== undefined).length;
  const problems = [
    ...(metric.rank === 3 && metric.shape[0] === B && metric.shape[1] === T
      ? []
      : [`metric [${B}, ${T}, C], got [${metric.shape.join(', ')}]`]),
    ...(amounts === 1 ? [] : [`one of count, ratio and threshold, got ${amounts}`]),
    ...(count === undefined || (Number.isSafeInteger(count) && count >= 0)
      ? []
      : [`count of 0 or more, got ${count}`]),
    ...(ratio === undefined || (ratio >= 0 && ratio <= 1) ? [] : [`ratio in [0, 1], got ${ratio}`]),
    ...(energyMargin === undefined || threshold === undefined ? [] : ['energyMargin without threshold']),
    ...Object.entries({ protect, size }).flatMap(([name, rows]) =>
      rows === undefined || rows.length === B * T ? [] : [`${name} of ${B * T} tokens, got ${rows.length}`],
    ),
  ];
  if (problems.length > 0)
    throw new MinkeError('invalid-argument', `mergeBidirectional: expected ${problems.join('; ')}`);
  return [B, T, D];
}
