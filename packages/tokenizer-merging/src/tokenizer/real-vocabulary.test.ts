// A part of real-vocabulary.slow.test.ts that is quick enough for every day.
import { Random } from '@minke/core';
import { expect, it } from 'vitest';
import { randomText } from '../testing/random-text.ts';
import { compareIds, deepseek, mixedDocuments, tokenTexts } from '../testing/real-vocabulary.ts';

it("gives the ids of Hugging Face's tokenizer on DeepSeek-V3's own vocabulary: mixed text", () => {
  for (const text of mixedDocuments(100_000, 1)) compareIds(text);
});

it('and random strings', () => {
  const random = new Random(2);
  const tokens = tokenTexts(500, 3);
  for (let i = 0; i < 1000; i++) compareIds(randomText(random, 24, tokens));
});

it('gives every token of the vocabulary by its own text', () => {
  let whole = 0;
  for (let id = 0; id < deepseek.vocabSize; id += 7) {
    const text = deepseek.decode([id]);
    if (text === '' || text.includes('\ufffd')) continue;
    expect([...deepseek.encode(text, { allowSpecial: true })], JSON.stringify(text)).toEqual([id]);
    whole++;
  }
  expect(whole).toBeGreaterThan(17_000);
});
