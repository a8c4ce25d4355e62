/**
 * The merges of a byte-pair vocabulary (Sennrich et al. 2016): again and again the most frequent pair of neighbours
 * becomes one symbol.
 *
 * Incremental: pairs are counted once, a merge touches only the words that hold its pair, and a lazily refreshed heap
 * gives the next one. Ties go to the smaller left id, then to the smaller right id, which is also the rule of Hugging
 * Face's BpeTrainer.
 */
import type { CountedWords } from './counted-words.ts';
import { PairCounts, type PairNumber } from './pair-counts.ts';
import { PairQueue } from './pair-queue.ts';

/** What to learn. */
export interface LearnMergesOptions {
  /** Tokens that no merge may spell. */
  readonly forbidden: ReadonlySet<string>;
  /** Tokens at the end, those that are given included. */
  readonly vocabSize: number;
  /** Pairs seen fewer times are not merged. */
  readonly minFrequency: number;
}

/**
 * Appends the new tokens to `tokens` (ids without a token are empty) and gives the new merges in order. `words` are in
 * the learned vocabulary afterwards.
 */
export function learnMerges(
  words: CountedWords,
  tokens: string[],
  { forbidden, vocabSize, minFrequency }: LearnMergesOptions,
): [string, string][] {
  const counts = new PairCounts();
  words.countPairs(counts);
  const queue = new PairQueue(counts, minFrequency);
  for (let pair = 0; pair < counts.length; pair++) queue.refresh(pair);

  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: [string, string][] = [];
  const merged = new Set<PairNumber>();
  const visited = new Int32Array(words.length);
  for (let round = 1; tokens.length < vocabSize; round++) {
    const pair = queue.take();
    if (pair === undefined) break;
    const left = counts.left(pair);
    const right = counts.right(pair);
    const token = tokens[left]! + tokens[right]!;
    if (!forbidden.has(token)) {
      let id = ids.get(token);
      if (id === undefined) {
        id = tokens.length;
        tokens.push(token);
        ids.set(token, id);
      }
      const replaced = { left, right, id };
      const grown: PairNumber[] = [];
      counts.forEachWord(pair, (word) => {
        if (visited[word] === round) return;
        visited[word] = round;
        words.merge(word, replaced, counts, (other) => grown.push(other));
      });
      // A pair can come back when two merges spell one token; it keeps its first rank.
      if (!merged.has(pair)) merges.push([tokens[left]!, tokens[right]!]);
      merged.add(pair);
      for (const other of grown) queue.refresh(other);
    }
    counts.clear(pair);
  }
  return merges;
}
