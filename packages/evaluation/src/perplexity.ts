/**
 * Perplexity: the number of equally likely tokens that would surprise as much as a text does. It depends on the tokenizer, so
 * it compares models of one vocabulary only: a model with its quantised self, or two programs that run the same file.
 */
import { check } from '@minke/core';

/**
 * exp of the mean of -ln p(token | tokens before it), from bits and the number of tokens scored: a report of `bitsPerByte`,
 * or one of its documents.
 *
 * @throws MinkeError `invalid-argument` without tokens
 * @example
 * const text = scoredDocument('a.txt', await readFile('a.txt', 'utf8'), tokenizer, bosId);
 * perplexity(await bitsPerByte({ documents: [text], score: modelScorer(model), context: 1024 }));
 */
export function perplexity({ bits, tokens }: { readonly bits: number; readonly tokens: number }): number {
  check(
    tokens >= 1 && bits >= 0,
    () => `perplexity: expected bits of a token or more, got ${bits} of ${tokens}`,
  );
  return 2 ** (bits / tokens);
}
