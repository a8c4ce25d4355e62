/**
 * How well a vocabulary fits texts: bytes and characters a token, and how much of the vocabulary is used.
 */
import type { Tokenizer } from './tokenizer.ts';

/** Counts over texts, as the tokenizer sees them. */
export interface TokenReport {
  readonly texts: number;
  /** Of UTF-8. */
  readonly bytes: number;
  /** Unicode code points. */
  readonly characters: number;
  readonly tokens: number;
  /** 0 without tokens. */
  readonly bytesPerToken: number;
  readonly charactersPerToken: number;
  /** Different ids that occur. */
  readonly idsUsed: number;
  /** Their share of the vocabulary. */
  readonly vocabularyUsed: number;
}

/**
 * Counts a tokenizer's tokens over texts, for instance of one domain.
 *
 * @example
 * tokenReport(tokenizer, articles).bytesPerToken; // 4.4: an article of 1 MB is 230,000 tokens
 */
export function tokenReport(tokenizer: Tokenizer, texts: Iterable<string>): TokenReport {
  const used = new Set<number>();
  let [count, bytes, characters, tokens] = [0, 0, 0, 0];
  for (const text of texts) {
    const ids = tokenizer.encode(text);
    count++;
    tokens += ids.length;
    for (const id of ids) {
      used.add(id);
      for (const byte of tokenizer.tokenBytes(id)) {
        bytes++;
        if ((byte & 0xc0) !== 0x80) characters++;
      }
    }
  }
  const per = (amount: number) => (tokens === 0 ? 0 : amount / tokens);
  return {
    texts: count,
    bytes,
    characters,
    tokens,
    bytesPerToken: per(bytes),
    charactersPerToken: per(characters),
    idsUsed: used.size,
    vocabularyUsed: used.size / tokenizer.vocabSize,
  };
}
