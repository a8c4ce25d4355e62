/** Chat by position, for supervised fine-tuning: the general part of the second stage's data. */
import { Random } from '@minke/core';
import { chatRow } from './base-mixture.ts';
import type { RowAt } from './task.ts';
import { taskSets } from './task-sets.ts';
import { drawTask, seedOf } from './task-stream.ts';

/**
 * Requests of the train split with replies; no thought, as trivial turns need none.
 *
 * @param options.goodReplies share of good ones, in [0, 1], the others spoilt; default 1
 */
export function generalRows({
  seed,
  goodReplies = 1,
}: {
  readonly seed: number;
  readonly goodReplies?: number;
}): RowAt {
  const stream = seedOf(seed, 'general rows');
  return (position) => {
    const random = new Random(stream, position);
    return chatRow(drawTask(random, taskSets.general, 'train'), goodReplies, random);
  };
}
