/**
 * Which tokens are boundaries, and what follows from it: entries, sizes, positions, distances.
 *
 * The plan is made on the host from one number a token, the router's probability, because the number of entries
 * decides the size of everything between merging and inflation. Every decision about a token depends on it and on
 * tokens before it in its sequence, so a plan of a prefix is the prefix of the plan.
 */
import { check } from '@minke/core';
import type { Tensor } from '@minke/tensor';

/** Where the sequences of a batch stand before it; all zeros for new ones. */
export interface SequenceStart {
  /** Tokens seen. */
  readonly position: number;
  /** Entries made. */
  readonly entries: number;
  /** Tokens after the latest boundary. */
  readonly run: number;
}

/** Everything merging, the layers between and inflation need to know about a batch. T tokens, E entries, B sequences. */
export interface MergePlan {
  /** Rows tokenOffsets[b] to tokenOffsets[b + 1] are sequence b, [B + 1]. */
  readonly tokenOffsets: Int32Array;
  /** Entries entryOffsets[b] to entryOffsets[b + 1] are sequence b's, [B + 1]. */
  readonly entryOffsets: Int32Array;
  /** 1 for boundaries, [T]. */
  readonly boundary: Uint8Array;
  /** 1 where the router did not decide: starts, protected tokens, full runs, decisions of the caller, [T]. */
  readonly forced: Uint8Array;
  /** Latest entry at or before each token; -1 where that was made in an earlier call, [T]. */
  readonly entryOfToken: Int32Array;
  /** Tokens since the latest boundary, [T]. */
  readonly lag: Int32Array;
  /** Row of each entry's boundary in the batch, [E]. */
  readonly entryRow: Int32Array;
  /** Position of each entry's boundary in its sequence: where to rotate it, [E]. */
  readonly entryPosition: Int32Array;
  /** Tokens each entry stands for: its boundary and those after the boundary before, [E]. */
  readonly size: Float32Array;
  /** log(size), for the bias of attention, [E]. */
  readonly logSize: Float32Array;
  /** Tokens after the last boundary, which no entry holds yet, [B]. */
  readonly openTail: Int32Array;
  /** Boundary probabilities [T] with their gradient; null when the router was not asked. */
  readonly probability: Tensor | null;
  /** The same on the host. */
  readonly probabilities: ArrayLike<number> | null;
  /** What decided. */
  readonly threshold: number;
  readonly maxRun: number;
  /** Where the sequences stood before this batch, [B]. */
  readonly starts: readonly SequenceStart[];
}

/** What decides about boundaries. */
export interface PlanInputs {
  /** Tokens of each sequence in the batch. */
  readonly counts: readonly number[];
  readonly threshold: number;
  readonly maxRun: number;
  readonly probability?: Tensor | null;
  /** By row, or by row and the tokens since the latest boundary before it. */
  readonly probabilities?: ArrayLike<number> | ((row: number, run: number) => number) | null;
  /** Rows that must be boundaries. */
  readonly protect?: ArrayLike<number>;
  /** The caller's decisions in place of the router's. */
  readonly boundaries?: ArrayLike<number>;
  readonly starts?: readonly SequenceStart[];
}

const fresh: SequenceStart = { position: 0, entries: 0, run: 0 };

/** Decides about every token of a batch, in order. */
export function makePlan(inputs: PlanInputs): MergePlan {
  const { counts, threshold, maxRun, protect, boundaries } = inputs;
  const starts = inputs.starts ?? counts.map(() => fresh);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const said = inputs.probabilities ?? null;
  const computed = typeof said === 'function' ? { by: said, values: new Float64Array(total) } : null;
  const given = typeof said === 'function' ? null : said;
  const probabilities = computed?.values ?? given;
  for (const [name, rows] of Object.entries({ protect, boundaries, probabilities: given }))
    check(
      rows === undefined || rows === null || rows.length === total,
      () => `plan: expected ${name} of ${total} tokens, got ${rows?.length}`,
    );
  const tokenOffsets = new Int32Array(counts.length + 1);
  const entryOffsets = new Int32Array(counts.length + 1);
  const boundary = new Uint8Array(total);
  const forced = new Uint8Array(total);
  const entryOfToken = new Int32Array(total);
  const lag = new Int32Array(total);
  const openTail = new Int32Array(counts.length);
  const entryRow: number[] = [];
  const entryPosition: number[] = [];
  const size: number[] = [];
  let row = 0;
  counts.forEach((count, b) => {
    const { position, run: open } = starts[b] as SequenceStart;
    let run = open;
    let entry = -1;
    for (let i = 0; i < count; i++, row++) {
      const first = position + i === 0;
      const certain = first || Boolean(protect?.[row]) || run + 1 >= maxRun || threshold <= 0;
      forced[row] = certain || boundaries !== undefined ? 1 : 0;
      if (computed) computed.values[row] = computed.by(row, run);
      const chosen = boundaries ? Boolean(boundaries[row]) : (probabilities?.[row] as number) >= threshold;
      if (certain || chosen) {
        boundary[row] = 1;
        entry = entryRow.length;
        entryRow.push(row);
        entryPosition.push(position + i);
        size.push(first ? 1 : run + 1);
        run = 0;
      } else run++;
      entryOfToken[row] = entry;
      lag[row] = run;
    }
    openTail[b] = run;
    tokenOffsets[b + 1] = row;
    entryOffsets[b + 1] = entryRow.length;
  });
  return {
    tokenOffsets,
    entryOffsets,
    boundary,
    forced,
    entryOfToken,
    lag,
    entryRow: Int32Array.from(entryRow),
    entryPosition: Int32Array.from(entryPosition),
    size: Float32Array.from(size),
    logSize: Float32Array.from(size, Math.log),
    openTail,
    probability: inputs.probability ?? null,
    probabilities,
    threshold,
    maxRun,
    starts,
  };
}
