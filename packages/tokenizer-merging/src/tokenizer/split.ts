/**
 * Cutting a text at a budget of tokens, exactly: every part, encoded alone, gives its share of the whole text's ids.
 *
 * Where a text is cut can change how it is encoded (white space belongs to the word after it; half a word may have
 * other merges), so each part is encoded again and compared, and a cut that does not hold is moved back.
 */
import { check, MinkeError } from '@minke/core';
import type { Tokenizer } from './tokenizer.ts';

/** A part of a text. */
export interface TextPart {
  readonly text: string;
  /** `tokenizer.encode(text)`. */
  readonly ids: Int32Array;
}

/**
 * Parts of a text of at most `maxTokens` tokens each, as long as they can be. Their texts joined are the text as the
 * tokenizer sees it (lone surrogates replaced, normalised), their ids joined the ids of the whole. Control tokens in
 * the text are ordinary text. Throws `invalid-argument` when no such parts exist: a character of more tokens.
 *
 * @example
 * splitByTokens(tokenizer, article, 512).map(({ ids }) => ids.length); // [512, 511, 87]
 */
export function splitByTokens(tokenizer: Tokenizer, text: string, maxTokens: number): TextPart[] {
  check(
    Number.isSafeInteger(maxTokens) && maxTokens >= 1,
    () => `splitByTokens: expected maxTokens of 1 or more, got ${maxTokens}`,
  );
  const ids = tokenizer.encode(text);
  const ends = new Int32Array(ids.length + 1); // bytes up to each token
  ids.forEach((id, i) => {
    ends[i + 1] = (ends[i] as number) + tokenizer.tokenBytes(id).length;
  });
  const bytes = new Uint8Array(ends[ids.length] as number);
  ids.forEach((id, i) => {
    bytes.set(tokenizer.tokenBytes(id), ends[i] as number);
  });
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const textOf = (from: number, to: number) => decoder.decode(bytes.subarray(ends[from], ends[to]));
  const whole = (at: number) => at === ids.length || ((bytes[ends[at] as number] as number) & 0xc0) !== 0x80;

  // Parts so far, and starts from which the rest cannot be cut.
  const cuts = [0];
  const dead = new Set<number>();
  let limit = maxTokens;
  while ((cuts.at(-1) as number) < ids.length) {
    const from = cuts.at(-1) as number;
    let to = Math.min(from + limit, ids.length);
    while (to > from && (dead.has(to) || !whole(to) || !encodesTo(textOf(from, to), ids.subarray(from, to))))
      to--;
    if (to > from) {
      cuts.push(to);
      limit = maxTokens;
      continue;
    }
    // Nothing fits from here: the cut before was in the wrong place.
    dead.add(from);
    cuts.pop();
    const earlier = cuts.at(-1);
    if (earlier === undefined)
      throw new MinkeError(
        'invalid-argument',
        `splitByTokens: expected a text that can be cut into parts of ${maxTokens} tokens, got one with longer characters or pieces; allow more tokens`,
      );
    limit = from - earlier - 1;
  }
  return cuts.slice(1).map((to, i) => ({
    text: textOf(cuts[i] as number, to),
    ids: ids.slice(cuts[i], to),
  }));

  function encodesTo(part: string, wanted: Int32Array): boolean {
    const own = tokenizer.encode(part);
    return own.length === wanted.length && own.every((id, i) => id === wanted[i]);
  }
}
