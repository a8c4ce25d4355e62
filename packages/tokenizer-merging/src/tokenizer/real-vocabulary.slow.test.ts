import { Random } from '@minke/core';
import { expect, it } from 'vitest';
import { randomText } from '../testing/random-text.ts';
import { compareIds, deepseek, mixedDocuments, tokenTexts } from '../testing/real-vocabulary.ts';

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

it('one letter a million times takes about four times as long as a quarter of it', () => {
  const seconds = (length: number) => {
    const text = 'a'.repeat(length);
    const runs = Array.from({ length: 3 }, () => {
      const start = process.cpuUsage();
      deepseek.encode(text);
      const { user, system } = process.cpuUsage(start);
      return (user + system) / 1e6;
    });
    return Math.min(...runs);
  };
  seconds(100_000);
  const times = [250_000, 500_000, 1_000_000].map(seconds);
  console.log(`250,000, 500,000 and 1,000,000 letters: ${times.map((time) => time.toFixed(3))} s`);
  expect(times[2]! / times[0]!).toBeLessThan(8);
});
