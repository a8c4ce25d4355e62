// The texts of a corpus that tools/study/corpus.mjs built, and the numbers by which two trainings are compared.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** The first documents of a JSONL file, up to so many bytes of text. */
export function readTexts(path, mostBytes) {
  const texts = [];
  let bytes = 0;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (line === '' || bytes >= mostBytes) break;
    const { text } = JSON.parse(line);
    texts.push(text);
    bytes += Buffer.byteLength(text);
  }
  return { texts, bytes };
}

/** How many merges, and six bytes of the digest of them all: equal for equal merges in equal order. */
export function mergesCheck(merges) {
  const digest = createHash('sha256')
    .update(merges.map((pair) => pair.join(' ')).join('\n'))
    .digest();
  return [merges.length, digest.readUIntBE(0, 6)];
}
