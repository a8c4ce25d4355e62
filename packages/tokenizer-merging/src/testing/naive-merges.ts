/** Byte-pair training as textbooks have it, which the trainers are compared with: slow, and nothing to get wrong. */

/** Replaces each neighbouring (left, right) of a word by the symbol they spell, from the left. */
export function replacePair(word: string[], left: string, right: string): void {
  for (let i = 0; i + 1 < word.length; i++)
    if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
}

/**
 * The merges in order, each as `left right`: every pair of every word is counted anew before each.
 * @param words in symbols; changed
 * @param ids of the symbols there are, which decide between pairs of one count; new symbols are added
 */
export function naiveMerges(
  words: readonly string[][],
  ids: Map<string, number>,
  { merges, minFrequency = 2 }: { readonly merges: number; readonly minFrequency?: number },
): string[] {
  const learned: string[] = [];
  const order = (pair: string) => pair.split(' ').map((symbol) => ids.get(symbol)) as [number, number];
  for (let step = 0; step < merges; step++) {
    const counts = new Map<string, number>();
    for (const word of words)
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]} ${word[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    const best = [...counts]
      .filter(([, count]) => count >= minFrequency)
      .sort(([a, x], [b, y]) => y - x || order(a)[0] - order(b)[0] || order(a)[1] - order(b)[1])[0];
    if (best === undefined) break;
    const [left, right] = best[0].split(' ') as [string, string];
    learned.push(best[0]);
    if (!ids.has(left + right)) ids.set(left + right, ids.size);
    for (const word of words) replacePair(word, left, right);
  }
  return learned;
}
