/**
 * Adjacent pairs of symbols while a vocabulary is learned: how often each occurs, and in which words.
 *
 * Everything lies in typed arrays: a corpus of 100 MB has a million distinct pairs in tens of millions of places, for
 * which objects would cost gigabytes.
 */

/** A pair's number, counted from 0 in the order in which pairs were first seen. */
export type PairNumber = number;

const none = -1;

/** A typed array of twice the length, with what was in the old one. */
function grown<A extends Int32Array | Float64Array>(old: A): A {
  const next = new (old.constructor as new (length: number) => A)(old.length * 2);
  next.set(old as never);
  return next;
}

/** Counts of pairs by number, and an open-addressing hash table from (left, right) to the number. */
export class PairCounts {
  private slots: Int32Array = new Int32Array(1 << 12).fill(none);
  private leftOf: Int32Array = new Int32Array(1 << 10);
  private rightOf: Int32Array = new Int32Array(1 << 10);
  private countOf: Float64Array = new Float64Array(1 << 10);
  /** Head of the list of places, by pair. */
  private headOf: Int32Array = new Int32Array(1 << 10);
  private places: Int32Array = new Int32Array(1 << 13);
  private placesUsed = 0;
  private size = 0;

  /** Pairs seen so far, also those of count 0. */
  get length(): number {
    return this.size;
  }

  left(pair: PairNumber): number {
    return this.leftOf[pair]!;
  }

  right(pair: PairNumber): number {
    return this.rightOf[pair]!;
  }

  /** Occurrences in all words; integers, exact to 2^53. */
  count(pair: PairNumber): number {
    return this.countOf[pair]!;
  }

  /** Whether a pair comes before another one of the same count: by the left symbol, then by the right one. */
  before(pair: PairNumber, other: PairNumber): boolean {
    const difference = this.leftOf[pair]! - this.leftOf[other]!;
    return difference < 0 || (difference === 0 && this.rightOf[pair]! < this.rightOf[other]!);
  }

  /** Adds occurrences in a word. */
  add(left: number, right: number, by: number, word: number): PairNumber {
    const pair = this.number(left, right);
    this.countOf[pair]! += by;
    const head = this.headOf[pair]!;
    if (head === none || this.places[head] !== word) this.headOf[pair] = this.place(word, head);
    return pair;
  }

  /** Takes occurrences away; the word stays listed, for it may hold the pair elsewhere. */
  take(left: number, right: number, by: number): void {
    this.countOf[this.number(left, right)]! -= by;
  }

  /** Count 0 and no words. */
  clear(pair: PairNumber): void {
    this.countOf[pair] = 0;
    this.headOf[pair] = none;
  }

  /** Words that hold the pair or once did, some of them several times; `visit` may count other pairs. */
  forEachWord(pair: PairNumber, visit: (word: number) => void): void {
    for (let at = this.headOf[pair]!; at !== none; at = this.places[at + 1]!) visit(this.places[at]!);
  }

  private number(left: number, right: number): PairNumber {
    const mask = this.slots.length - 1;
    let at = hash(left, right) & mask;
    for (;;) {
      const pair = this.slots[at]!;
      if (pair === none) break;
      if (this.leftOf[pair] === left && this.rightOf[pair] === right) return pair;
      at = (at + 1) & mask;
    }
    return this.append(left, right, at);
  }

  private append(left: number, right: number, slot: number): PairNumber {
    if (this.size === this.leftOf.length) {
      this.leftOf = grown(this.leftOf);
      this.rightOf = grown(this.rightOf);
      this.countOf = grown(this.countOf);
      this.headOf = grown(this.headOf);
    }
    const pair = this.size++;
    this.leftOf[pair] = left;
    this.rightOf[pair] = right;
    this.headOf[pair] = none;
    this.slots[slot] = pair;
    if (2 * this.size > this.slots.length) this.rehash();
    return pair;
  }

  private rehash(): void {
    const mask = 2 * this.slots.length - 1;
    this.slots = new Int32Array(mask + 1).fill(none);
    for (let pair = 0; pair < this.size; pair++) {
      let at = hash(this.leftOf[pair]!, this.rightOf[pair]!) & mask;
      while (this.slots[at] !== none) at = (at + 1) & mask;
      this.slots[at] = pair;
    }
  }

  private place(word: number, next: number): number {
    if (this.placesUsed === this.places.length) this.places = grown(this.places);
    const at = this.placesUsed;
    this.places[at] = word;
    this.places[at + 1] = next;
    this.placesUsed += 2;
    return at;
  }
}

function hash(left: number, right: number): number {
  const mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}
