/**
 * The rows of a batch, behind the rows that a state remembers of its sequences.
 */
import { check, formatShape } from '@minke/core';
import { concat, scatterRows, type Tensor } from '@minke/tensor';
import type { MergePlan, SequenceStart } from './plan.ts';
import type { RowRing } from './row-ring.ts';
import { indices, takeRows } from './rows.ts';
import type { MergeState } from './state.ts';

/** Which rows of h are which tokens. */
export interface MergeBatch {
  /** Tokens of each sequence: rows of h, one sequence after another. Default: all rows are one sequence. */
  readonly counts?: readonly number[];
  /** 1 for rows that must be boundaries, [T]; see `tokenRows`. */
  readonly protect?: ArrayLike<number>;
  /** Decisions, [T], in place of the router's: fixed strides, random boundaries, those of another run. */
  readonly boundaries?: ArrayLike<number>;
  /** In place of the configured threshold. */
  readonly threshold?: number;
  /** What came before; new sequences without it. */
  readonly state?: MergeState;
  /** Sequence of the state for each of `counts`. Default 0, 1, ... */
  readonly sequences?: readonly number[];
}

/** Rows of past and present tokens. */
export interface KnownRows {
  /** Past rows, then those of h. */
  readonly rows: Tensor;
  /** Past rows. */
  readonly offset: number;
  /** Row of each sequence's last past token, or -1. */
  readonly last: readonly number[];
}

/** Tokens of each sequence, checked against h [T, D]. */
export function countsOf(h: Tensor, batch: MergeBatch): readonly number[] {
  const total = h.shape[0] as number;
  const { counts = [total] } = batch;
  check(
    h.rank === 2 && counts.reduce((sum, count) => sum + count, 0) === total,
    () =>
      `merging: expected h [T, D] with the tokens of counts ${counts.join(' + ')}, got ${formatShape(h.shape)}`,
  );
  return counts;
}

/** The state's sequence for each of the batch's. */
export function sequencesOf(batch: MergeBatch, plan: MergePlan): readonly number[] {
  return batch.sequences ?? plan.starts.map((_, b) => b);
}

/** Where the sequences of a batch stand. */
export function startsOf(counts: readonly number[], { state, sequences }: MergeBatch): SequenceStart[] {
  const ids = sequences ?? counts.map((_, b) => b);
  check(
    ids.length === counts.length && new Set(ids).size === ids.length,
    () => `merging: expected a different sequence for each of ${counts.length} counts, got ${ids.join()}`,
  );
  return ids.map((sequence) => state?.start(sequence) ?? { position: 0, entries: 0, run: 0 });
}

/** h [T, D] behind the tokens since each sequence's latest boundary, that one included. */
export function withPast(h: Tensor, batch: MergeBatch, starts: readonly SequenceStart[]): KnownRows {
  const { state } = batch;
  const past: number[] = [];
  const last: number[] = [];
  starts.forEach(({ position, run }, b) => {
    if (state && position > 0) {
      const sequence = batch.sequences?.[b] ?? b;
      for (let p = position - 1 - run; p < position; p++) past.push(state.history.row(sequence, p));
      last.push(past.length - 1);
    } else last.push(-1);
  });
  if (!state || past.length === 0) return { rows: h, offset: 0, last };
  return {
    rows: concat([takeRows(state.history.table, past, h.arena), h], 0),
    offset: past.length,
    last,
  };
}

/** Writes the latest rows of each sequence into a ring of a state, by their positions. */
export function remember(
  h: Tensor,
  ring: RowRing,
  counts: readonly number[],
  starts: readonly SequenceStart[],
  sequences: readonly number[],
): void {
  check(
    !h.arena.recordsGradients,
    () => 'merging: expected an arena without gradients beside a state; train without one',
  );
  const places = counts.flatMap((count, b) => {
    const { position } = starts[b] as SequenceStart;
    return Array.from({ length: count }, (_, i) =>
      i < count - ring.each ? -1 : ring.row(sequences[b] as number, position + i),
    );
  });
  scatterRows(h, indices(h.arena, places), ring.table);
}
