/** The distinct words of a corpus as symbols, and what a merge changes in one of them. */
import type { PairCounts, PairNumber } from './pair-counts.ts';

/** Words by text; an object each, so that counting one more takes a single look-up. */
export type WordCounts = ReadonlyMap<string, { readonly count: number }>;

/** Words with how often each occurs; their symbols are replaced in place while a vocabulary is learned. */
export class CountedWords {
  private symbols: Int32Array = new Int32Array(1 << 12);
  private readonly starts: Int32Array;
  private readonly ends: Int32Array;
  private readonly frequencies: Float64Array;

  /** `idsOf` gives a word's symbols to begin with. */
  constructor(words: WordCounts, idsOf: (word: string) => ArrayLike<number>) {
    this.starts = new Int32Array(words.size);
    this.ends = new Int32Array(words.size);
    this.frequencies = new Float64Array(words.size);
    let used = 0;
    let w = 0;
    for (const [word, { count }] of words) {
      const ids = idsOf(word);
      this.reserve(used, used + ids.length);
      this.symbols.set(ids, used);
      this.starts[w] = used;
      used += ids.length;
      this.ends[w] = used;
      this.frequencies[w++] = count;
    }
  }

  get length(): number {
    return this.frequencies.length;
  }

  /** Counts the pairs of all words. */
  countPairs(counts: PairCounts): void {
    const { symbols, starts, ends, frequencies } = this;
    for (let w = 0; w < frequencies.length; w++)
      for (let i = starts[w]!; i + 1 < ends[w]!; i++)
        counts.add(symbols[i]!, symbols[i + 1]!, frequencies[w]!, w);
  }

  /** Replaces each (left, right) of a word by `id`, from the left, and tells `counts`; `grew` is told which pairs are new. */
  merge(
    word: number,
    { left, right, id }: { readonly left: number; readonly right: number; readonly id: number },
    counts: PairCounts,
    grew: (pair: PairNumber) => void,
  ): void {
    const { symbols } = this;
    const start = this.starts[word]!;
    const end = this.ends[word]!;
    const frequency = this.frequencies[word]!;
    let write = start;
    for (let read = start; read < end; read++) {
      const symbol = symbols[read]!;
      if (symbol !== left || read + 1 === end || symbols[read + 1] !== right) {
        symbols[write++] = symbol;
        continue;
      }
      if (write > start) {
        const before = symbols[write - 1]!;
        counts.take(before, left, frequency);
        grew(counts.add(before, id, frequency, word));
      }
      if (read + 2 < end) {
        const after = symbols[read + 2]!;
        counts.take(right, after, frequency);
        grew(counts.add(id, after, frequency, word));
      }
      symbols[write++] = id;
      read++;
    }
    this.ends[word] = write;
  }

  private reserve(used: number, wanted: number): void {
    if (wanted <= this.symbols.length) return;
    const larger = new Int32Array(Math.max(2 * this.symbols.length, wanted));
    larger.set(this.symbols.subarray(0, used));
    this.symbols = larger;
  }
}
