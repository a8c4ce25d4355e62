/**
 * Which tokens a forward pass sees, at which positions, and which rows each may attend to.
 *
 * Tokens of all sequences are flattened into N rows; nothing is padded. Everything the host knows about a batch
 * (lengths, roles, regions of a cache) stays on the host; kernels see i32 tensors only.
 */
import { check } from '@minke/core';
import type { Arena, Tensor } from '@minke/tensor';
import type { WindowBatch } from './hybrid/window-rows.ts';

/**
 * How attention is computed: `expanded` builds keys and values of every head (as in training), `absorbed` folds the
 * up-projections into queries and outputs and attends to the latents themselves.
 */
export type AttentionForm = 'expanded' | 'absorbed';

/** Where a token came from. Unless a form is pinned, prompts are computed expanded, generated tokens absorbed. */
export type TokenRole = 'prompt' | 'generated';

/** The form of a run: the pinned one, or by its role. */
export function formOf(run: { readonly role: TokenRole }, pinned: AttentionForm | undefined): AttentionForm {
  return pinned ?? (run.role === 'prompt' ? 'expanded' : 'absorbed');
}

/** Consecutive rows of a batch that belong to one sequence. */
export interface Segment {
  /** Index of the sequence, in its cache if there is one. */
  readonly sequence: number;
  /** First row in the batch. */
  readonly start: number;
  /** Rows in the batch, at least 1. */
  readonly count: number;
  /** Tokens of the sequence that came before. */
  readonly context: number;
  readonly role: TokenRole;
  /** Rows of the batch that hold those tokens, where the batch computes them for several sequences at once. */
  readonly prefix?: { readonly start: number; readonly count: number };
}

/** Segments that attention handles in one call: neighbours of one role that are all new, or one with context. */
export interface Run {
  readonly start: number;
  readonly count: number;
  readonly role: TokenRole;
  /** No segment has context: keys are rows of this very run. */
  readonly fresh: boolean;
  /** First cache row of the sequence, when not fresh. */
  readonly region: number;
  /** Rows of the sequence in the cache after this batch, when not fresh. */
  readonly regionLength: number;
}

/** Rows in a cache, beside the batch they belong to. */
export interface CachedRows {
  /** Where each token's row is stored, i32 [N]. */
  readonly rows: Tensor;
  /**
   * Cache rows each token attends to, i32 [N, 2]; where sequences of the batch share a beginning i32 [N, 4]: rows of
   * the beginning, then rows after it.
   */
  readonly ranges: Tensor;
  readonly runs: readonly Run[];
}

/** Which row of a batch computes each token of the concatenated sequences, M of them. */
export interface SharedRows {
  /** [M] */
  readonly rowOf: Int32Array;
  /** The same on the device, i32 [M]: the row that each key and value comes from. */
  readonly keyRows: Tensor;
}

/** The tokens of one forward pass. */
export interface AttentionBatch {
  /** Position of each token in its sequence, i32 [N]. */
  readonly positions: Tensor;
  /**
   * Rows each token attends to, i32 [N, 2]. Without a cache: rows of this batch. With one: rows of the token's run
   * when the run is fresh, else rows of its sequence (`cached.ranges` has the same as cache rows).
   */
  readonly ranges: Tensor;
  /** Where rows are shared by sequences: `ranges` count the tokens of the concatenated sequences. No cache then. */
  readonly shared?: SharedRows;
  /** In row order. Absent where the caller made positions and ranges itself. */
  readonly segments?: readonly Segment[];
  /** Present when the batch was made by a cache's `append`. */
  readonly cached?: CachedRows;
  /** Present when that was a `HybridCache`. */
  readonly window?: WindowBatch;
}

/**
 * A batch of whole sequences, packed one after another, each token attending to its own sequence up to itself.
 * @param lengths tokens of each sequence; empty sequences are left out
 *
 * @example
 * const batch = packSequences(arena, [3, 2]); // positions 0 1 2 0 1, ranges [0,1) [0,2) [0,3) [3,4) [3,5)
 */
export function packSequences(arena: Arena, lengths: readonly number[]): AttentionBatch {
  check(
    lengths.every((length) => Number.isSafeInteger(length) && length >= 0),
    () => `packSequences: expected lengths of 0 or more, got ${lengths.join(', ')}`,
  );
  const segments: Segment[] = [];
  const positions: number[] = [];
  const ranges: number[] = [];
  let start = 0;
  lengths.forEach((count, sequence) => {
    if (count > 0) segments.push({ sequence, start, count, context: 0, role: 'prompt' });
    for (let i = 0; i < count; i++) {
      positions.push(i);
      ranges.push(start, start + i + 1);
    }
    start += count;
  });
  return {
    positions: arena.tensor(positions, [start], 'i32'),
    ranges: arena.tensor(ranges, [start, 2], 'i32'),
    segments,
  };
}

/** A sequence to pack, whose first tokens may be rows of the one before it. */
export interface SharingSequence {
  readonly length: number;
  /** Tokens that it may share, fewer than `length`. */
  readonly prefix: number;
  /** Whether they are those of the sequence before it. */
  readonly shared: boolean;
}

/**
 * Whole sequences, each token attending to its own sequence up to itself; beginnings that neighbours share are rows
 * once. Rows: a beginning, then what follows it in each of its sequences. Every row has the bits that it has in
 * `packSequences`; gradients add up in another order.
 * @returns the batch, and for each of its rows the index of its token in the concatenated sequences
 *
 * @example
 * const prompts = [false, true].map((shared) => ({ length: 3, prefix: 2, shared }));
 * const { batch, tokens } = packShared(arena, prompts); // tokens 0 1 2 5, ranges [0,1) [0,2) [0,3) [3,6)
 */
export function packShared(
  arena: Arena,
  sequences: readonly SharingSequence[],
): { batch: AttentionBatch & { readonly shared: SharedRows }; tokens: Int32Array } {
  const tokens: number[] = [];
  const rowOf: number[] = [];
  const positions: number[] = [];
  const ranges: number[] = [];
  const segments: Segment[] = [];
  let start = 0;
  let first = 0;
  const add = (sequenceStart: number, position: number) => {
    tokens.push(sequenceStart + position);
    positions.push(position);
    ranges.push(sequenceStart, sequenceStart + position + 1);
  };
  sequences.forEach(({ length, prefix, shared }, sequence) => {
    check(
      prefix >= 0 && prefix < length && !(shared && prefix !== sequences[sequence - 1]?.prefix),
      () =>
        `packShared: expected a prefix shorter than the sequence, and as long as the one it shares, got ${prefix} of ${length}`,
    );
    if (!shared) {
      first = tokens.length;
      for (let i = 0; i < prefix; i++) add(start, i);
    }
    const own = { start: tokens.length, count: length - prefix };
    for (let i = prefix; i < length; i++) add(start, i);
    for (let i = 0; i < length; i++) rowOf.push(i < prefix ? first + i : own.start + i - prefix);
    segments.push({
      ...{ sequence, ...own, context: prefix, role: 'prompt' },
      prefix: { start: first, count: prefix },
    });
    start += length;
  });
  const count = tokens.length;
  const batch = {
    positions: arena.tensor(positions, [count], 'i32'),
    ranges: arena.tensor(ranges, [count, 2], 'i32'),
    shared: { rowOf: Int32Array.from(rowOf), keyRows: arena.tensor(rowOf, [start], 'i32') },
    segments,
  };
  return { batch, tokens: Int32Array.from(tokens) };
}

/** Where a sequence's rows lie in a cache. */
export interface Place {
  /** Row of its first token, were none of them another's. */
  readonly region: number;
  /** Its first tokens, of which other sequences make use too, and the row of the first of them. */
  readonly prefix: { readonly region: number; readonly length: number } | null;
}

/** What a cached batch uploads, in row order. */
interface CachedNumbers {
  readonly positions: readonly number[];
  readonly rows: readonly number[];
  readonly ranges: readonly number[];
  readonly cacheRanges: readonly number[];
}

function cachedNumbers(
  segments: readonly Segment[],
  places: readonly Place[],
  runs: readonly Run[],
): CachedNumbers {
  const shared = places.some(({ prefix }) => prefix !== null);
  const positions: number[] = [];
  const rows: number[] = [];
  const cacheRanges: number[] = [];
  segments.forEach(({ count, context }, s) => {
    const { region, prefix } = places[s] as Place;
    const length = prefix?.length ?? 0;
    for (let i = 0; i < count; i++) {
      positions.push(context + i);
      rows.push(region + context + i);
      if (shared) cacheRanges.push(prefix?.region ?? 0, (prefix?.region ?? 0) + length);
      cacheRanges.push(region + length, region + context + i + 1);
    }
  });
  const ranges: number[] = [];
  let run = 0;
  for (const { start, count, context } of segments) {
    while (start >= runs[run]!.start + runs[run]!.count) run++;
    const first = runs[run]!.fresh ? start - runs[run]!.start : 0;
    for (let i = 0; i < count; i++) ranges.push(first, first + context + i + 1);
  }
  return { positions, rows, ranges, cacheRanges };
}

/** A cached batch from its segments and the places of their sequences. */
export function cachedBatch(
  arena: Arena,
  segments: readonly Segment[],
  places: readonly Place[],
): AttentionBatch {
  const runs = splitIntoRuns(segments, places);
  const { positions, rows, ranges, cacheRanges } = cachedNumbers(segments, places, runs);
  const total = positions.length;
  return {
    positions: arena.tensor(positions, [total], 'i32'),
    ranges: arena.tensor(ranges, [total, 2], 'i32'),
    segments,
    cached: {
      rows: arena.tensor(rows, [total], 'i32'),
      ranges: arena.tensor(cacheRanges, [total, cacheRanges.length / total || 2], 'i32'),
      runs,
    },
  };
}

/** Overwrites the numbers of a batch of one generated token a sequence with those of the same number of others. */
export function rewriteCachedBatch(
  batch: AttentionBatch,
  segments: readonly Segment[],
  places: readonly Place[],
): void {
  const numbers = cachedNumbers(segments, places, splitIntoRuns(segments, places));
  batch.positions.write(numbers.positions);
  batch.ranges.write(numbers.ranges);
  batch.cached!.rows.write(numbers.rows);
  batch.cached!.ranges.write(numbers.cacheRanges);
}

function splitIntoRuns(segments: readonly Segment[], places: readonly Place[]): Run[] {
  const runs: Run[] = [];
  segments.forEach(({ start, count, context, role }, s) => {
    const fresh = context === 0;
    const previous = runs.at(-1);
    if (fresh && previous?.fresh && previous.role === role) {
      runs[runs.length - 1] = { ...previous, count: previous.count + count };
    } else {
      const { region } = places[s] as Place;
      runs.push({ start, count, role, fresh, region, regionLength: context + count });
    }
  });
  return runs;
}
