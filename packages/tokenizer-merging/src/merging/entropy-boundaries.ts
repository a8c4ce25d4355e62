/**
 * Boundaries by what tokens are: an entry begins at tokens behind which the next one is hard to foretell.
 *
 * The aim is that of entropy patches (Byte Latent Transformer, arXiv 2412.09871), with a table of pairs of tokens in
 * place of a small language model: deciding costs nothing, and equal passages are cut at equal places from their first
 * such token on, which makes them easier to copy from. The table is made once, from training text; in use nothing looks
 * at what follows a token.
 */
import { check, MinkeError } from '@minke/core';

/** How tokens of a vocabulary are chosen. */
export interface EntropyBoundariesOptions {
  readonly vocabSize: number;
  /** N, from 1 to `maxRun`: what entries are to have on average. Default 2. */
  readonly tokensPerEntry?: number;
  /** Most tokens of an entry, as the merger's. Default 8. */
  readonly maxRun?: number;
}

/** Occurrences of a token that weigh as much as what tokens have on average. */
const PRIOR = 10;

/**
 * 1 for tokens at which an entry begins, [vocabSize]: those with the largest entropy of the next token, as many as give
 * the sequences nearest to N tokens an entry. Throws `invalid-config`, and `invalid-argument` for ids outside.
 *
 * @param sequences ids of training text, looked at several times
 * @example
 * const tokens = entropyBoundaries(texts.map((text) => tokenizer.encode(text)), { vocabSize, maxRun: 3 });
 * merger.forward(h, { boundaries: tokenRows(ids, tokens) }); // of a merger with `router: 'tokens'`
 */
export function entropyBoundaries(
  sequences: readonly ArrayLike<number>[],
  { vocabSize, tokensPerEntry = 2, maxRun = 8 }: EntropyBoundariesOptions,
): Uint8Array {
  const whole = [vocabSize, maxRun].every((value) => Number.isSafeInteger(value) && value >= 1);
  if (!(whole && tokensPerEntry >= 1 && tokensPerEntry <= maxRun))
    throw new MinkeError(
      'invalid-config',
      `entropyBoundaries: expected whole vocabSize and maxRun of 1 or more and tokensPerEntry from 1 to maxRun, got ${vocabSize}, ${maxRun} and ${tokensPerEntry}`,
    );
  const entropies = nextTokenEntropies(sequences, vocabSize);
  const order = Uint32Array.from(entropies.keys()).sort(
    (a, b) => (entropies[b] as number) - (entropies[a] as number) || a - b,
  );
  const rank = new Uint32Array(vocabSize);
  order.forEach((id, place) => {
    rank[id] = place;
  });
  // More tokens give shorter entries: the smallest number of them with which entries are short enough, or one less.
  const length = (chosen: number) => meanEntry(sequences, (id) => (rank[id] as number) < chosen, maxRun);
  let [low, high] = [0, vocabSize];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (length(middle) <= tokensPerEntry) high = middle;
    else low = middle + 1;
  }
  const off = (chosen: number) => Math.abs(length(chosen) - tokensPerEntry);
  const chosen = low > 0 && off(low - 1) < off(low) ? low - 1 : low;
  return Uint8Array.from(rank, (place) => Number(place < chosen));
}

/** Nats of the next token behind each, [vocabSize]; rare tokens are near the mean. Takes 4 bytes a token of text. */
function nextTokenEntropies(sequences: readonly ArrayLike<number>[], vocabSize: number): Float64Array {
  const followers = followersOf(sequences, vocabSize);
  const entropies = followers.map(entropyOf);
  const total = followers.reduce((sum, { length }) => sum + length, 0);
  const mean = entropies.reduce((sum, own, id) => sum + own * followers[id]!.length, 0) / Math.max(total, 1);
  return Float64Array.from(entropies, (own, id) => {
    const times = followers[id]!.length;
    return (times * own + PRIOR * mean) / (times + PRIOR);
  });
}

/** What came behind each token: views of one array. */
function followersOf(sequences: readonly ArrayLike<number>[], vocabSize: number): Uint32Array[] {
  const counts = new Uint32Array(vocabSize);
  let total = 0;
  for (const ids of sequences)
    for (let t = 0; t < ids.length; t++) {
      const id = ids[t] as number;
      check(
        Number.isSafeInteger(id) && id >= 0 && id < vocabSize,
        () => `entropyBoundaries: expected ids from 0 to ${vocabSize - 1}, got ${id}`,
      );
      if (t + 1 === ids.length) continue;
      counts[id] = (counts[id] as number) + 1;
      total++;
    }
  const all = new Uint32Array(total);
  let begin = 0;
  const followers = Array.from(counts, (count) => {
    begin += count;
    return all.subarray(begin - count, begin);
  });
  const filled = new Uint32Array(vocabSize);
  for (const ids of sequences)
    for (let t = 0; t + 1 < ids.length; t++) {
      const id = ids[t] as number;
      const place = filled[id] as number;
      followers[id]![place] = ids[t + 1] as number;
      filled[id] = place + 1;
    }
  return followers;
}

/** Nats of a list's elements; sorts it. */
function entropyOf(list: Uint32Array): number {
  list.sort();
  let nats = 0;
  for (let begin = 0, end = 0; begin < list.length; begin = end) {
    while (end < list.length && list[end] === list[begin]) end++;
    const share = (end - begin) / list.length;
    nats -= share * Math.log(share);
  }
  return nats;
}

/** Tokens an entry where some begin one. */
function meanEntry(
  sequences: readonly ArrayLike<number>[],
  begins: (id: number) => boolean,
  maxRun: number,
): number {
  let [tokens, entries] = [0, 0];
  for (const ids of sequences)
    for (let t = 0, run = 0; t < ids.length; t++, tokens++)
      if (t === 0 || run + 1 >= maxRun || begins(ids[t] as number)) {
        entries++;
        run = 0;
      } else run++;
  return tokens / Math.max(entries, 1);
}
