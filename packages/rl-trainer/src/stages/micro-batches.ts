/**
 * Parts of an optimiser step that fit into memory: consecutive items of together at most so many tokens. Losses and
 * gradients do not depend on the cuts, up to rounding, because sums are divided by totals of the step.
 */

/** Items in order; one that is longer than the limit goes alone. */
export function microBatches<T>(items: readonly T[], tokensOf: (item: T) => number, limit: number): T[][] {
  const batches: T[][] = [];
  let room = 0;
  for (const item of items) {
    const tokens = tokensOf(item);
    if (batches.length === 0 || tokens > room) {
      batches.push([]);
      room = limit;
    }
    (batches.at(-1) as T[]).push(item);
    room -= tokens;
  }
  return batches;
}
