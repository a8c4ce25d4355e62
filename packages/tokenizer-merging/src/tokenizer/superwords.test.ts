// The second stage of SuperBPE: merges that join words.
import { readFileSync } from 'node:fs';
import { MinkeError } from '@minke/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { naiveMerges, replacePair } from '../testing/naive-merges.ts';
import { extendVocabulary, splitByTokens, Tokenizer, tokenReport, trainBpe } from './index.ts';

const space = '\u0120';

const corpus = Array.from(
  { length: 40 },
  (_, i) =>
    `one of the ${['whales', 'ships', 'boats'][i % 3]} of the sea, and ${i * 37} of them;\n  so it is\n`,
);
const base = trainBpe(corpus, { vocabSize: 300 });
const joined = extendVocabulary(base, corpus, { vocabSize: 330, superwords: true });

describe('superwords', () => {
  it('are what recounting every pair of whole lines before every merge learns', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', ' '), minLength: 1, maxLength: 14 });
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 20 }), (drawn) => {
        // Runs of spaces are cut, single ones are not.
        const texts = drawn.map((line) => line.replace(/ +/g, ' ').trim()).filter((line) => line !== '');
        const first = trainBpe(texts, { vocabSize: 259 });
        const firstMerges = first.toJson().model.merges;
        const lines = texts.map((line) => [...line.replaceAll(' ', space)]);
        for (const [left, right] of firstMerges) for (const line of lines) replacePair(line, left, right);
        const ids = new Map(
          Array.from({ length: first.vocabSize }, (_, id) => [first.idToToken(id) as string, id]),
        );
        const expected = naiveMerges(lines, ids, { merges: 5 });
        const second = extendVocabulary(first, texts, { vocabSize: first.vocabSize + 5, superwords: true });
        const merges = second.toJson().model.merges.slice(firstMerges.length);
        expect(merges.map((pair) => pair.join(' '))).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  it('join words of a line, and texts have fewer tokens that decode to them', () => {
    const tokens = Array.from(
      { length: joined.vocabSize - 300 },
      (_, i) => joined.idToToken(300 + i) as string,
    );
    expect(tokens).toContain(`${space}of${space}the`);
    for (const token of tokens.filter((token) => token.indexOf(space) > 0))
      expect(token).not.toMatch(/\d|\u010a/);
    expect(tokenReport(joined, corpus).tokens).toBeLessThan(0.8 * tokenReport(base, corpus).tokens);
    for (const text of [...corpus, 'of  the', 'of the\nof the 12 of the;; of the', ' \n \t']) {
      expect(joined.decode(joined.encode(text))).toBe(text);
      const parts = splitByTokens(joined, text, 8);
      expect(parts.flatMap(({ ids }) => [...ids])).toEqual([...joined.encode(text)]);
    }
  });

  it('grow when extended again, and are read from the file that was written', () => {
    const more = extendVocabulary(joined, corpus, { vocabSize: 334, superwords: true });
    expect(more.toJson()).toEqual(
      extendVocabulary(base, corpus, { vocabSize: 334, superwords: true }).toJson(),
    );
    const read = Tokenizer.fromJson(JSON.parse(JSON.stringify(joined.toJson())));
    for (const text of corpus) expect([...read.encode(text)]).toEqual([...joined.encode(text)]);
  });

  it('are refused where it is not known which cuts to leave out', () => {
    const gpt2 = JSON.parse(readFileSync(new URL('../../fixtures/gpt2.json', import.meta.url), 'utf8')) as {
      tokenizer: unknown;
    };
    const other = Tokenizer.fromJson(gpt2.tokenizer);
    const extend = () =>
      extendVocabulary(other, corpus, { vocabSize: other.vocabSize + 5, superwords: true });
    expect(extend).toThrow(MinkeError);
    expect(extend).toThrow(/pre-tokenizer that trainBpe writes/);
  });
});
