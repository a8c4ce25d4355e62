import { MinkeError } from '@minke/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { naiveMerges } from '../testing/naive-merges.ts';
import { trainBpe } from './index.ts';

describe('trainBpe', () => {
  it('learns what recounting every pair before every merge learns', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 25 }), (texts) => {
        const tokenizer = trainBpe(texts, { vocabSize: 262, minFrequency: 2 });
        const merges = tokenizer.toJson().model.merges.map((pair) => pair.join(' '));
        const letters = new Map([...'abc'].map((letter, id) => [letter, id]));
        const words = texts.map((text) => [...text]);
        expect(merges).toEqual(naiveMerges(words, letters, { merges: 6 }));
      }),
      { numRuns: 300 },
    );
  });

  it('breaks ties by the smaller left id, then the smaller right id', () => {
    const tokenizer = trainBpe(['zy', 'zy', 'ab', 'ab', 'aa', 'aa'], { vocabSize: 259 });
    expect(tokenizer.toJson().model.merges).toEqual([
      ['a', 'a'],
      ['a', 'b'],
      ['z', 'y'],
    ]);
  });

  it('gives ids to special tokens, then the 256 bytes, then merges', () => {
    const tokenizer = trainBpe(['hello hello'], {
      vocabSize: 259,
      specialTokens: ['<bos>', { content: '<think>', special: false }],
    });
    expect(tokenizer.specialTokens.map(({ id, content, special }) => [id, content, special])).toEqual([
      [0, '<bos>', true],
      [1, '<think>', false],
    ]);
    expect(tokenizer.idToToken(2)).toBe('!');
    expect(tokenizer.idToToken(257)).toBe('Ń');
    expect(tokenizer.vocabSize).toBe(259);
  });

  it('cuts numbers as asked', () => {
    const pieces = (digits: 'individual' | 'groups-of-3' | 'none') => {
      const tokenizer = trainBpe(['1234567 1234567'], { vocabSize: 400, digits });
      return Array.from(tokenizer.encode('1234567'), (id) => tokenizer.idToToken(id));
    };
    expect(pieces('individual')).toEqual(['1', '2', '3', '4', '5', '6', '7']);
    expect(pieces('groups-of-3')).toEqual(['123', '456', '7']);
    expect(pieces('none')).toEqual(['1234567']);
  });

  it('stops where pairs become rarer than minFrequency', () => {
    expect(trainBpe(['abc abd'], { vocabSize: 1000, minFrequency: 3 }).vocabSize).toBe(256);
    expect(trainBpe(['abc', 'abd'], { vocabSize: 1000, minFrequency: 2 }).vocabSize).toBe(257);
  });

  it('never merges text into a special token', () => {
    const tokenizer = trainBpe(Array(50).fill('think thinks'), { vocabSize: 400, specialTokens: ['think'] });
    expect(tokenizer.toJson().model.merges.map((pair) => pair.join(''))).not.toContain('think');
    expect(Array.from(tokenizer.encode('think'))).not.toContain(0);
  });

  it('gives the same file each time', () => {
    const texts = Array.from({ length: 200 }, (_, i) => `whale ${i * 37} swims ${i % 7} miles`);
    const options = { vocabSize: 400, specialTokens: ['<eos>'] };
    expect(trainBpe(texts, options).toJson()).toEqual(trainBpe(new Set(texts), options).toJson());
  });

  it('trains on a single run of 200,000 characters in bounded time', () => {
    const start = performance.now();
    trainBpe(['ab'.repeat(100_000)], { vocabSize: 300 });
    expect((performance.now() - start) / 1000).toBeLessThan(10);
  });

  it.each([
    ['a vocabulary below the bytes', { vocabSize: 255 }],
    ['a fractional vocabulary', { vocabSize: 300.5 }],
    ['minFrequency 0', { vocabSize: 300, minFrequency: 0 }],
    ['a special token twice', { vocabSize: 300, specialTokens: ['<a>', '<a>'] }],
    ['a special token of one byte', { vocabSize: 300, specialTokens: ['a'] }],
    ['an empty special token', { vocabSize: 300, specialTokens: [''] }],
  ])('refuses %s', (_, options) => {
    expect(() => trainBpe([], options)).toThrow(MinkeError);
  });
});
