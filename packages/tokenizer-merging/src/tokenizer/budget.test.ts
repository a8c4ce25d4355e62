// Splitting at a budget, extending a vocabulary, reports.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { extendVocabulary, splitByTokens, Tokenizer, tokenReport, trainBpe } from './index.ts';

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../fixtures/${name}.json`, import.meta.url), 'utf8')) as never;
const text =
  'Merging tokens, 12345 at a time:\n\n  the quick  brown fox \u00e9\u00e8\u00ea \u4f60\u597d\u4e16\u754c \ud83d\udc0b\ud83d\udc0b jumps over\tthe lazy dog.   \n' +
  'Words, words and words again; whatever one says, the words come back to the ones that say them. ';
const corpus = Array.from(
  { length: 20 },
  (_, i) => `${text}${i * 37} ${[...text].slice(i, 60 + i).join('')}`,
);
const specialTokens = ['<eos>', { content: '<think>', special: false }];
const tokenizer = trainBpe(corpus, { vocabSize: 320, specialTokens });

describe('splitting at a budget', () => {
  it.each([6, 7, 10, 31, 1000])(
    'gives parts of at most %i tokens whose ids are those of the whole',
    (most) => {
      for (const whole of [text, text.repeat(3), '', ' ', 'a', '\u0301x', text.replaceAll(' ', '')]) {
        const parts = splitByTokens(tokenizer, whole, most);
        expect(parts.map((part) => part.text).join('')).toBe(whole);
        expect(parts.flatMap(({ ids }) => [...ids])).toEqual([...tokenizer.encode(whole)]);
        for (const part of parts) {
          expect(part.ids.length).toBeLessThanOrEqual(most);
          expect([...tokenizer.encode(part.text)]).toEqual([...part.ids]);
        }
      }
    },
  );

  it('makes parts long', () => {
    const parts = splitByTokens(tokenizer, text.repeat(4), 20);
    const mean = parts.reduce((sum, { ids }) => sum + ids.length, 0) / parts.length;
    expect(mean).toBeGreaterThan(16);
  });

  it('holds for published pre-tokenizers, control tokens as text, and a lone surrogate', () => {
    for (const name of ['gpt2', 'llama3', 'qwen2', 'deepseek-v3']) {
      const { tokenizer: file } = read(name) as { tokenizer: unknown };
      const own = Tokenizer.fromJson(file);
      const odd = `${text}<|endoftext|> <think>\ud800 end`;
      const parts = splitByTokens(own, odd, 12);
      expect(parts.flatMap(({ ids }) => [...ids])).toEqual([...own.encode(odd)]);
      for (const part of parts) expect([...own.encode(part.text)]).toEqual([...part.ids]);
    }
  });

  it('says when a character has more tokens than a part', () => {
    expect(() => splitByTokens(tokenizer, 'x\ud83e\udd8a', 1)).toThrow(/parts of 1 tokens.*allow more/);
    expect(() => splitByTokens(tokenizer, 'x', 0)).toThrow(/maxTokens of 1 or more/);
  });
});

describe('an extended vocabulary', () => {
  it('is the larger one where the texts are those of before', () => {
    const larger = trainBpe(corpus, { vocabSize: 360, specialTokens });
    expect([tokenizer.vocabSize, larger.vocabSize]).toEqual([320, 360]); // the texts have merges for both
    expect(extendVocabulary(tokenizer, corpus, { vocabSize: 360 }).toJson()).toEqual(larger.toJson());
  });

  it('keeps ids and merges, and fits other texts better', () => {
    const logs = Array.from(
      { length: 30 },
      (_, i) => `[error] request-${i} timed out; retrying request-${i}`,
    );
    const wider = extendVocabulary(tokenizer, logs, { vocabSize: tokenizer.vocabSize + 40 });
    const [before, after] = [tokenizer.toJson(), wider.toJson()];
    expect(after.model.vocab).toMatchObject(before.model.vocab);
    expect(after.model.merges.slice(0, before.model.merges.length)).toEqual(before.model.merges);
    expect(after.added_tokens).toEqual(before.added_tokens);
    expect(wider.vocabSize).toBeGreaterThan(tokenizer.vocabSize);
    expect(tokenReport(wider, logs).bytesPerToken).toBeGreaterThan(
      2 * tokenReport(tokenizer, logs).bytesPerToken,
    );
    for (const line of [...logs, ...corpus]) expect(wider.decode(wider.encode(line))).toBe(line);
  });

  it('says when it would not be one', () => {
    expect(() => extendVocabulary(tokenizer, [], { vocabSize: 300 })).toThrow(/extendVocabulary.*from 320/);
  });
});

it('reports bytes, characters and the use of the vocabulary', () => {
  const report = tokenReport(tokenizer, ['\u4f60\u597d', 'the the']);
  expect(report).toMatchObject({ texts: 2, bytes: 13, characters: 9 });
  expect(report.tokens).toBe(tokenizer.encode('\u4f60\u597d').length + tokenizer.encode('the the').length);
  expect(report.bytesPerToken).toBeCloseTo(13 / report.tokens, 12);
  expect(report.vocabularyUsed).toBe(report.idsUsed / tokenizer.vocabSize);
  expect(tokenReport(tokenizer, [])).toMatchObject({ texts: 0, tokens: 0, bytesPerToken: 0 });
});
