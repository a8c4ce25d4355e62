/**
 * The key rows of each token of a batch, in parts: [low, first, near, end] as the op `splitAttention` has them.
 *
 * Local layers begin their walk at the tile of keys, counted from position 0, that the window begins in: a token's
 * bits then depend on its position only, and neighbours share a walk.
 */
import { check } from '@minke/core';
import type { Arena } from '@minke/tensor';
import type { AttentionBatch, Segment } from '../batch.ts';
import type { LayerType } from './layer-plan.ts';
import type { SplitRanges } from './window-rows.ts';

/** Rows of keys that kernels take together. */
export const keyTile = 64;

/** Where a token is in its sequence, and the row of the sequence's first token among the keys. */
export interface Placed {
  readonly position: number;
  readonly base: number;
}

/** First position of the window that ends at a position. */
export const windowStart = (position: number, window: number): number => Math.max(0, position - window + 1);

/** First position that a local layer walks. */
export const walkStart = (position: number, window: number): number =>
  Math.floor(windowStart(position, window) / keyTile) * keyTile;

/** Four numbers a token. */
export function splitNumbers(placed: readonly Placed[], type: LayerType, window: number): number[] {
  return placed.flatMap(({ position, base }) => {
    const near = base + windowStart(position, window);
    const end = base + position + 1;
    if (type === 'local') return [base + walkStart(position, window), near, near, end];
    return [base, base, type === 'hybrid' ? near : base, end];
  });
}

/** Uploads ranges. */
export function splitRanges(arena: Arena, numbers: readonly number[]): SplitRanges {
  const rows = numbers.length / 4;
  const pair = (from: number, to: number) =>
    arena.tensor(
      Array.from({ length: 2 * rows }, (_, i) => numbers[4 * (i >> 1) + (i & 1 ? to : from)] as number),
      [rows, 2],
      'i32',
    );
  const fused = arena.backend.supports('splitAttention') && arena.backend.supports('splitAttentionGrad');
  return {
    parts: arena.tensor(numbers, [rows, 4], 'i32'),
    visible: fused ? null : pair(1, 3),
    far: fused ? null : pair(1, 2),
  };
}

/** Rows start .. end. */
export function rangeRows(ranges: SplitRanges, start: number, end: number): SplitRanges {
  const { parts, visible, far } = ranges;
  return {
    parts: parts.rows(start, end),
    visible: visible?.rows(start, end) ?? null,
    far: far?.rows(start, end) ?? null,
  };
}

/** Places of the rows of a batch without a cache, whose keys are the tokens of its sequences one after another. */
export function placedTokens(batch: AttentionBatch): Placed[] {
  const placed: Placed[] = [];
  let base = 0;
  for (const { start, count, context, prefix } of segmentsOf(batch)) {
    if (prefix !== undefined && placed[prefix.start] === undefined)
      for (let i = 0; i < prefix.count; i++) placed[prefix.start + i] = { position: i, base };
    for (let i = 0; i < count; i++) placed[start + i] = { position: context + i, base };
    base += context + count;
  }
  return placed;
}

/** What the host knows of a batch. */
export function segmentsOf(batch: AttentionBatch): readonly Segment[] {
  check(
    batch.segments !== undefined,
    () =>
      'hybridAttention: expected a batch with segments, from packSequences or a cache, got one made by hand',
  );
  return batch.segments;
}
