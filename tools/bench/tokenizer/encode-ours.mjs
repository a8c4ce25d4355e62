import { Tokenizer } from '../../../packages/tokenizer-merging/dist/tokenizer/index.js';
import { serveEncoding } from './encode-side.mjs';
import { tokenizerJson } from './encode-texts.mjs';

await serveEncoding('minke', () => {
  const tokenizer = Tokenizer.fromJson(tokenizerJson);
  return (text) => tokenizer.encode(text, { allowSpecial: true });
});
