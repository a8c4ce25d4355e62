import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { serveEncoding } from './encode-side.mjs';
import { require, tokenizerConfig, tokenizerJson } from './encode-texts.mjs';

const name = '@huggingface/tokenizers';
const { version } = JSON.parse(readFileSync(join(require.resolve(name), '../../package.json'), 'utf8'));
const { Tokenizer } = require(name);
await serveEncoding(`${name} ${version}`, () => {
  const tokenizer = new Tokenizer(tokenizerJson, tokenizerConfig);
  return (text) => tokenizer.encode(text, { add_special_tokens: false }).ids;
});
