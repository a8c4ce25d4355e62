/**
 * Boundaries by what tokens are: an entry begins at tokens behind which the next one is hard to foretell.
 *
 * The aim is that of entropy patches (Byte Latent Transformer, arXiv 2412.09871), with a table of pairs of tokens in
 * place of a small language model: it costs nothing, and equal passages are cut at equal places, which makes them easier
 * to copy from. Nothing here looks at what follows a token; the table is made once, from training text.
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
  if (!(Number.isSafeInteger(vocabSize) && vocabSize >= 1 && tokensPerEntry >= 1 && tokensPerEntry <= maxRun))
    throw new MinkeError(
      'invalid-config',
      `entropyBoundaries: expected a vocabSize of 1 or more and tokensPerEntry from 1 to maxRun ${maxRun}, got ${vocabSize} and ${tokensPerEntry}`,
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

/** Nats of the next token behind each, [vocabSize]; rare tokens are near the mean. */
function nextTokenEntropies(sequences: readonly ArrayLike<number>[], vocabSize: number): Float64Array {
  const counts = new Float64Array(vocabSize);
  const pairs = new Map<number, number>();
  for (const ids of sequences)
    for (let t = 0; t < ids.length; t++) {
      const id = ids[t] as number;
      check(
        Number.isSafeInteger(id) && id >= 0 && id < vocabSize,
        () => `entropyBoundaries: expected ids from 0 to ${vocabSize - 1}, got ${id}`,
      );
      if (t + 1 === ids.length) continue;
      const pair = id * vocabSize + (ids[t + 1] as number);
      pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
      counts[id] = (counts[id] as number) + 1;
    }
  const entropies = new Float64Array(vocabSize);
  let [all, total] = [0, 0];
  for (const [pair, times] of pairs) {
    const id = Math.floor(pair / vocabSize);
    const share = times / (counts[id] as number);
    entropies[id] = (entropies[id] as number) - share * Math.log(share);
    all -= times * Math.log(share);
    total += times;
  }
  const mean = all / Math.max(total, 1);
  return entropies.map((own, id) => {
    const times = counts[id] as number;
    return (times * own + PRIOR * mean) / (times + PRIOR);
  });
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

/** A bitmap as text for settings: base64 of its bits, id 8 i + j in bit j of byte i. */
export function bitmapText(bitmap: Uint8Array): string {
  const bytes = new Uint8Array(Math.ceil(bitmap.length / 8));
  bitmap.forEach((bit, id) => {
    if (bit) bytes[id >> 3] = (bytes[id >> 3] as number) | (1 << (id & 7));
  });
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** What `bitmapText` wrote, [vocabSize]. Throws `invalid-config` for text that is no bitmap of that many tokens. */
export function bitmapOf(text: string, vocabSize: number): Uint8Array {
  const problem = bitmapProblem(text, vocabSize);
  if (problem !== null) throw new MinkeError('invalid-config', `bitmapOf: expected ${problem}`);
  const binary = atob(text);
  return Uint8Array.from({ length: vocabSize }, (_, id) => (binary.charCodeAt(id >> 3) >> (id & 7)) & 1);
}

/** What is wrong with text that should be a bitmap of so many tokens, as "expected" continues it; null for nothing. */
export function bitmapProblem(text: string, vocabSize: number): string | null {
  const expected = Math.ceil(vocabSize / 8);
  const bytes = base64Bytes(text);
  if (bytes === expected) return null;
  const found = bytes === null ? 'text that is none' : `${bytes} bytes`;
  return `base64 of ${expected} bytes, a bit for each of ${vocabSize} tokens, got ${found}`;
}

function base64Bytes(text: string): number | null {
  try {
    return atob(text).length;
  } catch {
    return null;
  }
}
