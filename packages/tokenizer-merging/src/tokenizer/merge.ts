/**
 * Exact byte-pair merging of one pre-token (Sennrich et al. 2016; order as in Hugging Face `tokenizers`):
 * repeatedly merge the adjacent pair of lowest rank, leftmost first.
 *
 * Symbols are a linked list over typed arrays and candidate pairs a binary heap keyed by (rank, position), so
 * n bytes cost O(n log n) whatever they are; the few bytes of an ordinary word are merged by looking at all pairs. A
 * heap entry is stale when its place no longer holds a pair that merges to the same token; this is the reference's own
 * test, kept so that vocabularies in which two merges give one token agree too.
 */

/** Numbers of a slot: left, right, rank, result. */
const slotSize = 4;

/**
 * Hash table from a pair of token ids to the rank of its merge: open addressing, no allocation on look-up, and one cache
 * line for a pair.
 */
export class PairTable {
  private readonly mask: number;
  private readonly slots: Int32Array;

  /** `capacity`: how many pairs will be set at most. */
  constructor(capacity: number) {
    let size = 16;
    while (size < capacity * 2) size *= 2;
    this.mask = size - 1;
    this.slots = new Int32Array(size * slotSize).fill(-1);
  }

  /** Where the pair's slot begins, or the free one where it would go. */
  private slot(left: number, right: number): number {
    const { slots, mask } = this;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash = (hash ^ (hash >>> 15)) & mask;
    for (;;) {
      const at = hash * slotSize;
      const found = slots[at]!;
      if (found < 0 || (found === left && slots[at + 1] === right)) return at;
      hash = (hash + 1) & mask;
    }
  }

  /** Stores a merge; a pair listed twice keeps its last rank, as in the reference. */
  set(left: number, right: number, rank: number, result: number): void {
    const at = this.slot(left, right);
    this.slots[at] = left;
    this.slots[at + 1] = right;
    this.slots[at + 2] = rank;
    this.slots[at + 3] = result;
  }

  /** Rank of the pair's merge, or -1. */
  rank(left: number, right: number): number {
    return this.slots[this.slot(left, right) + 2]!;
  }

  /** Token the pair merges to, or -1. */
  result(left: number, right: number): number {
    return this.slots[this.slot(left, right) + 3]!;
  }
}

/** 2^31: a heap key is `rank * positionSpan + position`, exact in a double for ranks below 2^22. */
const positionSpan = 2147483648;
/** Work space of up to this many symbols is kept between calls. */
const keptSymbols = 4096;
/** Up to this many symbols, looking at all ranks for the least is faster than a heap. */
const fewSymbols = 32;
const noRank = 0x7fffffff;

/** Merges byte strings to token ids with one merge table; holds reusable work space. */
export class BpeMerger {
  /** What the last call gave, in its first `count` places. */
  ids = new Int32Array(keptSymbols);
  private next = new Int32Array(keptSymbols);
  private previous = new Int32Array(keptSymbols);
  private heap = new Float64Array(2 * keptSymbols);
  private heapSize = 0;

  /** `byteIds[b]`: id of the token of byte b, -1 for none. `resultOfRank[r]`: token that merge r gives. */
  constructor(
    private readonly table: PairTable,
    private readonly byteIds: Int32Array,
    private readonly resultOfRank: Int32Array,
  ) {}

  /** Writes the ids of `bytes[from..to)` to `ids` and returns how many; bytes without a token are left out. */
  merge(bytes: Uint8Array, from: number, to: number): number {
    if (to - from > this.ids.length || this.ids.length > keptSymbols)
      this.allocate(Math.max(keptSymbols, to - from));
    const { ids, byteIds } = this;
    let length = 0;
    for (let i = from; i < to; i++) {
      const id = byteIds[bytes[i]!]!;
      if (id >= 0) ids[length++] = id;
    }
    if (length <= 1) return length;
    return length <= fewSymbols ? this.mergeFew(length) : this.mergeMany(length);
  }

  /** Ranks of all pairs in an array: the least one is merged, its two neighbours looked up again. */
  private mergeFew(length: number): number {
    const { ids, table, next: ranks, resultOfRank } = this;
    for (let i = 0; i + 1 < length; i++) ranks[i] = rankOr(table, ids[i]!, ids[i + 1]!);
    let count = length;
    for (;;) {
      let least = noRank;
      let at = -1;
      for (let i = 0; i + 1 < count; i++)
        if (ranks[i]! < least) {
          least = ranks[i]!;
          at = i;
        }
      if (at < 0) return count;
      ids[at] = resultOfRank[least]!;
      count--;
      for (let i = at + 1; i < count; i++) ids[i] = ids[i + 1]!;
      for (let i = at + 1; i + 1 < count; i++) ranks[i] = ranks[i + 1]!;
      if (at > 0) ranks[at - 1] = rankOr(table, ids[at - 1]!, ids[at]!);
      if (at + 1 < count) ranks[at] = rankOr(table, ids[at]!, ids[at + 1]!);
    }
  }

  private mergeMany(length: number): number {
    const { ids: symbols, next, previous, table } = this;
    for (let i = 0; i < length; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    next[length - 1] = -1;
    this.heapSize = 0;
    for (let i = 0; i + 1 < length; i++) this.offer(i, i + 1);
    while (this.heapSize > 0) {
      const key = this.pop();
      const rank = Math.floor(key / positionSpan);
      const left = key - rank * positionSpan;
      const right = next[left]!;
      if (symbols[left]! < 0 || right < 0) continue;
      const result = this.resultOfRank[rank]!;
      if (table.result(symbols[left]!, symbols[right]!) !== result) continue;
      symbols[left] = result;
      symbols[right] = -1;
      const after = next[right]!;
      next[left] = after;
      if (after >= 0) previous[after] = left;
      const before = previous[left]!;
      if (before >= 0) this.offer(before, left);
      if (after >= 0) this.offer(left, after);
    }
    let count = 0;
    for (let at = 0; at >= 0; at = next[at]!) symbols[count++] = symbols[at]!;
    return count;
  }

  private offer(left: number, right: number): void {
    const rank = this.table.rank(this.ids[left]!, this.ids[right]!);
    if (rank >= 0) this.push(rank * positionSpan + left);
  }

  private push(key: number): void {
    const heap = this.heap;
    let at = this.heapSize++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= key) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = key;
  }

  private pop(): number {
    const heap = this.heap;
    const top = heap[0]!;
    const key = heap[--this.heapSize]!;
    const size = this.heapSize;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= key) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = key;
    return top;
  }

  /** Each merge takes one heap entry and adds at most two, so 2n entries always suffice. */
  private allocate(length: number): void {
    this.ids = new Int32Array(length);
    this.next = new Int32Array(length);
    this.previous = new Int32Array(length);
    this.heap = new Float64Array(2 * length);
  }
}

function rankOr(table: PairTable, left: number, right: number): number {
  const rank = table.rank(left, right);
  return rank < 0 ? noRank : rank;
}
