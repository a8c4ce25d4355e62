import { Random } from '@minke/core';
import { expect, it } from 'vitest';
import { randomText } from '../testing/random-text.ts';
import { compareIds, mixedDocuments, tokenTexts } from '../testing/real-vocabulary.ts';

it("5 MB of mixed text have the ids of Hugging Face's tokenizer on DeepSeek-V3's own vocabulary, and decode to themselves", () => {
  const documents = mixedDocuments(5_000_000, 1000);
  for (const text of documents) compareIds(text);
  // One long text, too: nothing may depend on where documents end.
  compareIds(documents.slice(0, 100).join('\n'));
  const bytes = documents.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  console.log(`${documents.length} documents, ${bytes} bytes: no difference`);
  expect(bytes).toBeGreaterThan(5_000_000);
});

it('100,000 random strings have', () => {
  const random = new Random(4);
  const tokens = tokenTexts(20_000, 5);
  let bytes = 0;
  for (let i = 0; i < 100_000; i++) {
    const text = randomText(random, 24, tokens);
    bytes += Buffer.byteLength(text);
    compareIds(text);
  }
  console.log(`100,000 strings, ${bytes} bytes: no difference`);
});
