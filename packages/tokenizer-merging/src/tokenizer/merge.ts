/**
 * Exact byte-pair merging of one pre-token (Sennrich et al. 2016; order as in Hugging Face `tokenizers`):
 * repeatedly merge the adjacent pair of lowest rank, leftmost first.
 *
 * Symbols are a linked list over typed arrays and candidate pairs a binary heap keyed by (rank, position), so
 * n bytes cost O(n log n) whatever they are. A heap entry is stale when its place no longer holds a pair that
 * merges to the same token; this is the reference's own test, kept so that vocabularies in which two merges
 * give one token agree too.
 */

/** Hash table from a pair of token ids to the rank of its merge; open addressing, no allocation on look-up. */
export class PairTable {
  private readonly mask: number;
  private readonly lefts: Int32Array;
  private readonly rights: Int32Array;
  private readonly ranks: Int32Array;
  private readonly results: Int32Array;

  /** `capacity`: how many pairs will be set at most. */
  constructor(capacity: number) {
    let size = 16;
    while (size < capacity * 2) size *= 2;
    this.mask = size - 1;
    this.lefts = new Int32Array(size).fill(-1);
    this.rights = new Int32Array(size);
    this.ranks = new Int32Array(size);
    this.results = new Int32Array(size);
  }

  /** Slot of the pair, or of the free place where it would go. */
  private slot(left: number, right: number): number {
    let at = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    at = (at ^ (at >>> 15)) & this.mask;
    while (this.lefts[at]! >= 0 && (this.lefts[at] !== left || this.rights[at] !== right))
      at = (at + 1) & this.mask;
    return at;
  }

  /** Stores a merge; a pair listed twice keeps its last rank, as in the reference. */
  set(left: number, right: number, rank: number, result: number): void {
    const at = this.slot(left, right);
    this.lefts[at] = left;
    this.rights[at] = right;
    this.ranks[at] = rank;
    this.results[at] = result;
  }

  /** Rank of the pair's merge, or -1. */
  rank(left: number, right: number): number {
    const at = this.slot(left, right);
    return this.lefts[at]! < 0 ? -1 : this.ranks[at]!;
  }

  /** Token the pair merges to, or -1. */
  result(left: number, right: number): number {
    const at = this.slot(left, right);
    return this.lefts[at]! < 0 ? -1 : this.results[at]!;
  }
}

/** 2^31: a heap key is `rank * positionSpan + position`, exact in a double for ranks below 2^22. */
const positionSpan = 2147483648;
/** Work space of up to this many symbols is kept between calls. */
const keptSymbols = 4096;

/** Merges byte strings to token ids with one merge table; holds reusable work space. */
export class BpeMerger {
  private symbols = new Int32Array(keptSymbols);
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

  /** Ids of `bytes[0..size)`, in order, in a fresh array; bytes without a token are left out. */
  merge(bytes: Uint8Array, size: number): Int32Array {
    this.reserve(size);
    const { symbols, next, previous, table } = this;
    let length = 0;
    for (let i = 0; i < size; i++) {
      const id = this.byteIds[bytes[i]!]!;
      if (id >= 0) symbols[length++] = id;
    }
    if (length <= 1) return symbols.slice(0, length);
    for (let i = 0; i < length; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    next[length - 1] = -1;
    this.heapSize = 0;
    for (let i = 0; i + 1 < length; i++) this.offer(i, i + 1);
    let count = length;
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
      count--;
      if (after >= 0) previous[after] = left;
      const before = previous[left]!;
      if (before >= 0) this.offer(before, left);
      if (after >= 0) this.offer(left, after);
    }
    const ids = new Int32Array(count);
    for (let i = 0, at = 0; at >= 0; at = next[at]!) ids[i++] = symbols[at]!;
    if (size > keptSymbols) this.allocate(keptSymbols);
    return ids;
  }

  private offer(left: number, right: number): void {
    const rank = this.table.rank(this.symbols[left]!, this.symbols[right]!);
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

  private reserve(length: number): void {
    if (length > this.symbols.length) this.allocate(length);
  }

  /** Each merge takes one heap entry and adds at most two, so 2n entries always suffice. */
  private allocate(length: number): void {
    this.symbols = new Int32Array(length);
    this.next = new Int32Array(length);
    this.previous = new Int32Array(length);
    this.heap = new Float64Array(2 * length);
  }
}
