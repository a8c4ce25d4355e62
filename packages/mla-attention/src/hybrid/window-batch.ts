/**
 * What layers with windows need to know of the new tokens of a cached batch: the key rows of each, in parts, and
 * where rows of the ring are read and written.
 *
 * A local layer's ring has one slot for position p: p mod ring. A step of one token a sequence writes its slots, then
 * attends to named slots. Longer chunks attend to the old rows they need, copied out of the ring in order, followed by
 * their own, and are written afterwards: early tokens of a chunk need slots that later ones overwrite.
 */
import type { Arena } from '@minke/tensor';
import type { AttentionBatch, Run, Segment } from '../batch.ts';
import type { LayerType } from './layer-plan.ts';
import { keyTile, splitNumbers, splitRanges, walkStart, windowStart } from './split-ranges.ts';
import type { FarRows, RingRows, WindowBatch } from './window-rows.ts';

/** How rows of a cache lie. */
export interface RingShape {
  readonly window: number;
  readonly ring: number;
  readonly maxTokens: number;
}

/** Numbers of each tensor of a `WindowBatch`. */
function numbersOf(segments: readonly Segment[], runs: readonly Run[], shape: RingShape) {
  const { window, ring, maxTokens } = shape;
  const cached = segments.flatMap(({ sequence, count, context }) =>
    Array.from({ length: count }, (_, i) => ({ position: context + i, base: sequence * maxTokens })),
  );
  let run = 0;
  const ofRun = segments.flatMap(({ start, count, context }) => {
    while (start >= runs[run]!.start + runs[run]!.count) run++;
    const base = runs[run]!.fresh ? start - runs[run]!.start : 0;
    return Array.from({ length: count }, (_, i) => ({ position: context + i, base }));
  });
  const slot = (sequence: number, position: number) => sequence * ring + (position % ring);
  const writes = segments.flatMap(({ sequence, count, context }) =>
    Array.from({ length: count }, (_, i) => (i < count - ring ? -1 : slot(sequence, context + i))),
  );
  return {
    cached,
    ofRun,
    slot,
    writes,
    lengths: cached.map(({ position }) => Math.log1p(position / window)),
  };
}

/** Slots named by steps of one token a sequence. */
function namedSlots(segments: readonly Segment[], { window, ring }: RingShape): number[] {
  return segments.flatMap(({ sequence, context }) => {
    const [low, first] = [walkStart(context, window), windowStart(context, window)];
    return Array.from({ length: window + keyTile - 1 }, (_, i) =>
      low + i < first || low + i > context ? -1 : sequence * ring + ((low + i) % ring),
    );
  });
}

/** Which of the slots that a step names it attends to: those of the window. */
const namedNumbers = (segments: readonly Segment[], { window }: RingShape): number[] =>
  segments.flatMap(({ context }) =>
    splitNumbers([{ position: context, base: -walkStart(context, window) }], 'local', window),
  );

/** Whether every sequence has one new token. */
const isStep = (segments: readonly Segment[]) => segments.every(({ count }) => count === 1);

export function windowBatch(arena: Arena, batch: AttentionBatch, shape: RingShape): WindowBatch {
  const segments = batch.segments!;
  const { window } = shape;
  const { cached, ofRun, slot, writes, lengths } = numbersOf(segments, batch.cached!.runs, shape);
  const rows = writes.length;
  const far = (type: LayerType): FarRows => ({
    cached: splitRanges(arena, splitNumbers(cached, type, window)),
    ofRun: splitRanges(arena, splitNumbers(ofRun, type, window)),
  });
  const indices = (numbers: readonly number[]) => arena.tensor(numbers, [numbers.length], 'i32');
  let ring: RingRows;
  if (isStep(segments) && arena.backend.supports('gatheredAttention')) {
    const named = arena.tensor(namedSlots(segments, shape), [rows, window + keyTile - 1], 'i32');
    const ranges = splitRanges(arena, namedNumbers(segments, shape));
    ring = { writes: indices(writes), named, old: null, order: null, ranges };
  } else {
    const starts = segments.map(({ context }) => walkStart(context, window));
    const old = segments.flatMap(({ sequence, context }, s) =>
      Array.from({ length: context - starts[s]! }, (_, i) => slot(sequence, starts[s]! + i)),
    );
    const order: number[] = [];
    let [taken, row] = [0, 0];
    const placed = segments.flatMap(({ start, count, context }, s) => {
      const base = row - starts[s]!;
      const held = context - starts[s]!;
      for (let i = 0; i < held; i++) order.push(taken + i);
      for (let i = 0; i < count; i++) order.push(old.length + start + i);
      taken += held;
      row += held + count;
      return Array.from({ length: count }, (_, i) => ({ position: context + i, base }));
    });
    ring = {
      writes: indices(writes),
      named: null,
      old: old.length > 0 ? indices(old) : null,
      order: order.every((from, i) => from === i) ? null : indices(order),
      ranges: splitRanges(arena, splitNumbers(placed, 'local', window)),
    };
  }
  return { global: far('global'), hybrid: far('hybrid'), ring, lengths: arena.tensor(lengths, [rows, 1]) };
}

/** Overwrites the numbers of a step's batch with those of the same number of other sequences. */
export function rewriteWindowBatch(
  batch: WindowBatch,
  segments: readonly Segment[],
  runs: readonly Run[],
  shape: RingShape,
): void {
  const { cached, ofRun, writes, lengths } = numbersOf(segments, runs, shape);
  for (const type of ['global', 'hybrid'] as const) {
    batch[type].cached.parts.write(splitNumbers(cached, type, shape.window));
    batch[type].ofRun.parts.write(splitNumbers(ofRun, type, shape.window));
  }
  batch.ring.writes.write(writes);
  batch.ring.named!.write(namedSlots(segments, shape));
  batch.ring.ranges.parts.write(namedNumbers(segments, shape));
  batch.lengths.write(lengths);
}
