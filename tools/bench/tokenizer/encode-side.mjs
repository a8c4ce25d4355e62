// A side of the encoding cases that begins with a new tokenizer, whose caches are empty, before each call (`cold`), or
// encodes with one that has read the same texts before (warm).

import { readCase, serve } from '../harness/serve.mjs';
import { idsCheck, textsOf } from './encode-texts.mjs';

/** `load()` makes a tokenizer and returns how it encodes a text, control tokens in the text allowed. */
export async function serveEncoding(name, load) {
  const wish = readCase();
  const texts = textsOf(wish);
  let encode = load();
  await serve({
    name,
    check: idsCheck(texts, encode),
    before: wish.cold
      ? () => {
          encode = load();
        }
      : undefined,
    call: () => {
      for (const text of texts) encode(text);
    },
  });
}
