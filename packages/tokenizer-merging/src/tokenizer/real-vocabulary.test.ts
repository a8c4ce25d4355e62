// A part of real-vocabulary.slow.test.ts that is quick enough for every day.
import { Random } from '@minke/core';
import { expect, it } from 'vitest';
import { randomText } from '../testing/random-text.ts';
import { compareIds, deepseek, mixedDocuments, pairWith, tokenTexts } from '../testing/real-vocabulary.ts';

it("gives the ids of Hugging Face's tokenizer on DeepSeek-V3's own vocabulary: mixed text", () => {
  for (const text of mixedDocuments(60_000, 1)) compareIds(text);
});

it('and random strings', () => {
  const random = new Random(2);
  const tokens = tokenTexts(500, 3);
  for (let i = 0; i < 600; i++) compareIds(randomText(random, 24, tokens));
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

it("gives the peer's ids with DeepSeek-V2's steps, one of which asks for the end of the text", () => {
  const patterns = [
    '[\r\n]',
    '\\s?[\\p{Lu}\\p{Ll}\\p{Lt}]+',
    '\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+',
    '\\s+$',
    '[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+',
    // The file has Digits, for which the peer takes ASCII digits only; in Rust it is this.
    '\\p{N}',
  ];
  const pair = pairWith({
    type: 'Sequence',
    pretokenizers: [
      ...patterns.map((Regex) => ({
        type: 'Split',
        pattern: { Regex },
        behavior: 'Isolated',
        invert: false,
      })),
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  });
  const random = new Random(6);
  for (let i = 0; i < 300; i++) pair.compare(randomText(random));
});
