/**
 * Boundaries that know nothing of the text: what a learned router is to be compared with.
 *
 * `stride` takes every N-th token (Hourglass, arXiv 2110.13711; H-Net's fixed pooling), `random` each token with the
 * probability 1 / N. Both decide by the position in the sequence alone, so text that comes in pieces is cut as text
 * that comes at once, and nothing depends on what follows. Random numbers are Philox's, one for each position:
 * sequences of one model have the same pattern, models of different seeds different ones.
 */
import { Random } from '@minke/core';
import type { MergerConfig } from './config.ts';
import type { SequenceStart } from './plan.ts';

/** Decisions for the rows of a batch, [T], or null where the router is another. */
export function fixedBoundaries(
  { router, tokensPerEntry, seed }: Required<MergerConfig>,
  counts: readonly number[],
  starts: readonly SequenceStart[],
): Uint8Array | null {
  if (router !== 'stride' && router !== 'random') return null;
  const boundaries = new Uint8Array(counts.reduce((sum, count) => sum + count, 0));
  let row = 0;
  counts.forEach((count, b) => {
    const { position: first } = starts[b] as SequenceStart;
    for (let position = first; position < first + count; position++, row++)
      boundaries[row] = Number(
        router === 'stride'
          ? Math.floor(position / tokensPerEntry) > Math.floor((position - 1) / tokensPerEntry)
          : new Random(seed, position).uniform() < 1 / tokensPerEntry,
      );
  });
  return boundaries;
}
