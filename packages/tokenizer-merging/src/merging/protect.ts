/**
 * Tokens that must not disappear into an entry: control tokens, digits and operators.
 */
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

const critical = new Set(Array.from('0123456789+-*/=<>^%', (character) => character.charCodeAt(0)));

/**
 * 1 for ids that are control tokens, or whose bytes hold an ASCII digit or one of + - * / = < > ^ %, [vocabSize].
 *
 * @example
 * const critical = criticalTokens(tokenizer); // once
 * merger.forward(h, { protect: tokenRows(ids, critical) });
 */
export function criticalTokens(tokenizer: Tokenizer): Uint8Array {
  const bitmap = new Uint8Array(tokenizer.vocabSize);
  for (let id = 0; id < bitmap.length; id++)
    if (tokenizer.idToToken(id) !== undefined && tokenizer.tokenBytes(id).some((byte) => critical.has(byte)))
      bitmap[id] = 1;
  for (const { id } of tokenizer.specialTokens) bitmap[id] = 1;
  return bitmap;
}
