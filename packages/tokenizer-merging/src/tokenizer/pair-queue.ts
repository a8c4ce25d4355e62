/**
 * The pair that occurs most often, refreshed lazily: an entry of the heap holds the count of when it was queued, and one
 * whose count has since fallen goes back with what is left of it.
 */
import type { PairCounts, PairNumber } from './pair-counts.ts';

/** A binary heap of pairs: the largest count first, then the pair that comes first. */
export class PairQueue {
  private readonly heap: PairNumber[] = [];
  private readonly heapCounts: number[] = [];
  /** By pair: the largest count that is queued; an entry of another count is out of date. */
  private readonly queued: number[] = [];

  /** Pairs below `least` occurrences are never given. */
  constructor(
    private readonly counts: PairCounts,
    private readonly least: number,
  ) {}

  /** Queues a pair that is new or whose count has grown. */
  refresh(pair: PairNumber): void {
    const count = this.counts.count(pair);
    if (count < this.least || count <= (this.queued[pair] ?? 0)) return;
    while (this.queued.length <= pair) this.queued.push(0);
    this.queued[pair] = count;
    this.push(count, pair);
  }

  /** Takes out the pair of the largest count, the first of equals; undefined when none is left. */
  take(): PairNumber | undefined {
    while (this.heap.length > 0) {
      const pair = this.heap[0]!;
      const count = this.heapCounts[0]!;
      this.pop();
      if (count !== this.queued[pair]) continue;
      this.queued[pair] = 0;
      if (count === this.counts.count(pair)) return pair;
      this.refresh(pair);
    }
    return undefined;
  }

  private push(count: number, pair: PairNumber): void {
    let at = this.heap.length;
    this.heap.push(pair);
    this.heapCounts.push(count);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.before(count, pair, parent)) break;
      this.move(parent, at);
      at = parent;
    }
    this.heap[at] = pair;
    this.heapCounts[at] = count;
  }

  private pop(): void {
    const pair = this.heap.pop()!;
    const count = this.heapCounts.pop()!;
    const size = this.heap.length;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && this.before(this.heapCounts[child + 1]!, this.heap[child + 1]!, child)) child++;
      if (this.before(count, pair, child)) break;
      this.move(child, at);
      at = child;
    }
    this.heap[at] = pair;
    this.heapCounts[at] = count;
  }

  private before(count: number, pair: PairNumber, other: number): boolean {
    const theirs = this.heapCounts[other]!;
    return count > theirs || (count === theirs && this.counts.before(pair, this.heap[other]!));
  }

  private move(from: number, to: number): void {
    this.heap[to] = this.heap[from]!;
    this.heapCounts[to] = this.heapCounts[from]!;
  }
}
