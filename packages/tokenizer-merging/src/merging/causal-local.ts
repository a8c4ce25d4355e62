/**
 * Training-free merging of neighbours for a causal model's prefill.
 *
 * Local causal merging of Goetz et al. (ICML 2025): a token joins the group before it where the cosine of their
 * metrics is above a threshold, the group has room and neither is protected. As metric serves what a layer has
 * anyway and what knows no position, such as the latent of MLA (DeepSeek-V2, arXiv 2405.04434). The decision about
 * a token depends on that token and the one before, so the entries of a prefix stay when text is appended, and
 * cached pages stay valid.
 *
 * An entry is the mean of its group and stands at the last member. That a group has ended shows at the next token, so
 * tokens see an entry from there on, or from its last member on where that could not go on (full, protected, one of
 * the last tokens, which are never merged). Until then they use the latest entry that has ended. What a causal model
 * must not do, copying a group's mean back to its members, is not on offer.
 */
import { check, MinkeError } from '@minke/core';
import { add, maximum, mul, rsqrt, square, sub, sum, type Tensor } from '@minke/tensor';
import { chooseRows, column, segmentSum, takeRows } from './rows.ts';

/** How neighbours merge. */
export interface CausalLocalOptions {
  /** Neighbours merge above this cosine; at 1 none does. */
  readonly threshold: number;
  /** Most tokens in a group. Default 8. */
  readonly maxRun?: number;
  /** Tokens of each sequence: rows of h, one sequence after another. Default: all rows are one sequence. */
  readonly counts?: readonly number[];
  /** 1 for rows that stay alone, [T]. */
  readonly protect?: ArrayLike<number>;
  /** Last tokens of each sequence that stay alone. Default 0. */
  readonly keepLast?: number;
}

/** Groups of neighbours: T tokens, E entries, B sequences. */
export interface CausalGroups {
  readonly entryOffsets: Int32Array;
  /** First and last row of each group, [E]. */
  readonly firstRow: Int32Array;
  readonly lastRow: Int32Array;
  /** Position of each group's last member in its sequence: where to rotate it, [E]. */
  readonly entryPosition: Int32Array;
  readonly size: Float32Array;
  readonly logSize: Float32Array;
  /** Group of each token, [T]. */
  readonly groupOfToken: Int32Array;
  /** Latest entry each token may see; -1 for none, [T]. */
  readonly visibleEntry: Int32Array;
  /** First entries of each sequence that stay as they are whatever text is appended, [B]. */
  readonly stable: Int32Array;
}

/** Entries and how to come back from them. */
export interface CausalLocalMerge extends CausalGroups {
  /** Outputs may be used token by token: nothing in one comes from later tokens. */
  readonly causal: true;
  /** [E, D] */
  readonly entries: Tensor;
  /**
   * h plus the change of the latest entry each token sees; a token that sees itself alone takes the output as it is.
   * @param middle the layers' output for the entries, [E, D]
   */
  inflate(middle: Tensor): Tensor;
}

/** Groups from the cosine of each token with the one before it. */
export function groupNeighbours(similarity: ArrayLike<number>, options: CausalLocalOptions): CausalGroups {
  const total = similarity.length;
  const { threshold, maxRun = 8, counts = [total], protect, keepLast = 0 } = options;
  const problems = [
    ...(Number.isSafeInteger(maxRun) && maxRun >= 1 ? [] : [`maxRun of 1 or more, got ${maxRun}`]),
    ...(Number.isSafeInteger(keepLast) && keepLast >= 0 ? [] : [`keepLast of 0 or more, got ${keepLast}`]),
    ...(threshold >= -1 && threshold <= 1 ? [] : [`threshold in [-1, 1], got ${threshold}`]),
    ...(protect === undefined || protect.length === total
      ? []
      : [`protect of ${total} rows, got ${protect.length}`]),
    ...(counts.reduce((a, b) => a + b, 0) === total
      ? []
      : [`counts of ${total} rows, got ${counts.join(' + ')}`]),
  ];
  if (problems.length > 0)
    throw new MinkeError('invalid-argument', `mergeCausalLocal: expected ${problems.join('; ')}`);
  const entryOffsets = [0];
  const firstRow: number[] = [];
  const lastRow: number[] = [];
  const entryPosition: number[] = [];
  const groupOfToken = new Int32Array(total);
  const visibleEntry = new Int32Array(total);
  const stable: number[] = [];
  let start = 0;
  for (const count of counts) {
    const end = start + count;
    const alike = (row: number) =>
      row > start &&
      row < end &&
      (similarity[row] as number) > threshold &&
      !protect?.[row] &&
      !protect?.[row - 1];
    let firm = 0; // entries that no later text changes
    let seen = -1;
    for (let row = start; row < end; row++) {
      const size = (lastRow.at(-1) ?? -1) - (firstRow.at(-1) ?? 0) + 1;
      const joins = alike(row) && size < maxRun && row < end - keepLast;
      if (joins) lastRow[lastRow.length - 1] = row;
      else {
        if (row > start) seen = lastRow.length - 1;
        firstRow.push(row);
        lastRow.push(row);
        entryPosition.push(0);
      }
      const group = lastRow.length - 1;
      entryPosition[group] = row - start;
      const full = row - (firstRow[group] as number) + 1 >= maxRun;
      const ends = full || Boolean(protect?.[row]) || threshold >= 1;
      if (ends || row >= end - keepLast) seen = group;
      if (row < end - keepLast && (ends || (row + 1 < end && !alike(row + 1))))
        firm = group + 1 - (entryOffsets.at(-1) as number);
      groupOfToken[row] = group;
      visibleEntry[row] = seen;
    }
    stable.push(firm);
    entryOffsets.push(lastRow.length);
    start = end;
  }
  const size = Float32Array.from(lastRow, (last, e) => last - (firstRow[e] as number) + 1);
  return {
    entryOffsets: Int32Array.from(entryOffsets),
    firstRow: Int32Array.from(firstRow),
    lastRow: Int32Array.from(lastRow),
    entryPosition: Int32Array.from(entryPosition),
    size,
    logSize: size.map(Math.log),
    groupOfToken,
    visibleEntry,
    stable: Int32Array.from(stable),
  };
}

/**
 * Merges neighbours of h [T, D] that are alike by `metric` [T, R].
 *
 * @example
 * const merge = await mergeCausalLocal(h, latent, { threshold: 0.9, protect, keepLast: 16 });
 * const y = merge.inflate(layers(merge.entries, merge.entryPosition, merge.logSize)); // [T, D]
 */
export async function mergeCausalLocal(
  h: Tensor,
  metric: Tensor,
  options: CausalLocalOptions,
): Promise<CausalLocalMerge> {
  check(
    h.rank === 2 && metric.rank === 2 && metric.shape[0] === h.shape[0],
    () => `mergeCausalLocal: expected h [T, D] and metric [T, R], got ${h.shape} and ${metric.shape}`,
  );
  const total = h.shape[0] as number;
  const before = takeRows(
    metric,
    Array.from({ length: total }, (_, row) => row - 1),
  );
  const inverse = rsqrt(maximum(sum(square(metric), 1), 1e-24));
  const inverseBefore = rsqrt(maximum(sum(square(before), 1), 1e-24));
  const similarity = mul(mul(sum(mul(metric, before), 1), inverse), inverseBefore);
  const groups = groupNeighbours(await similarity.read(), options);
  const entries = groupMeans(h, groups);
  return {
    ...groups,
    causal: true,
    entries,
    inflate(middle) {
      const out = add(h, takeRows(sub(middle, entries), groups.visibleEntry));
      const alone = Array.from(groups.visibleEntry, (entry, row) =>
        entry === groups.groupOfToken[row] && groups.size[entry] === 1 ? entry : -1,
      );
      if (alone.every((entry) => entry < 0)) return out;
      return chooseRows(
        alone.map((entry) => Number(entry >= 0)),
        takeRows(middle, alone),
        out,
      );
    },
  };
}

/** The anchored mean of each group: a + sum (h - a) / size, with a its first member. */
function groupMeans(h: Tensor, { firstRow, groupOfToken, size }: CausalGroups): Tensor {
  const anchors = takeRows(h, firstRow);
  if (size.every((s) => s === 1)) return anchors;
  const differences = sub(
    h,
    takeRows(
      h,
      groupOfToken.map((group) => firstRow[group] as number),
    ),
  );
  const total = segmentSum(differences, groupOfToken, size.length);
  const mean = add(
    anchors,
    mul(
      total,
      column(
        h.arena,
        Float64Array.from(size, (s) => 1 / s),
      ),
    ),
  );
  return chooseRows(
    Array.from(size, (s) => Number(s === 1)),
    anchors,
    mean,
  );
}
