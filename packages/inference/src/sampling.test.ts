import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { argmax, candidates, sampleToken, validateSampling } from './sampling.ts';

const logits = [0.1, 0.2, 0.4, 0.2, 0.1].map(Math.log);
const all = { temperature: 1, topP: 1, topK: 0, minP: 0 };

describe('sampleToken', () => {
  it('is greedy at temperature 0, ties to the lowest id', () => {
    expect(argmax([1, 3, 3, 2])).toBe(1);
    expect(sampleToken(logits, { ...all, temperature: 0 }, new Random(0))).toBe(2);
  });

  it('draws with the stated probabilities', () => {
    const random = new Random(5);
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < 20_000; i++) (counts[sampleToken(logits, all, random)] as number)++;
    [0.1, 0.2, 0.4, 0.2, 0.1].forEach((p, id) => {
      expect(Math.abs((counts[id] as number) / 20_000 - p)).toBeLessThan(0.015);
    });
  });

  it('repeats exactly with the same seed', () => {
    const draw = (): number[] => {
      const random = new Random(9);
      return Array.from({ length: 50 }, () => sampleToken(logits, all, random));
    };
    expect(draw()).toEqual(draw());
  });

  it('survives logits of -inf and NaN', () => {
    expect(sampleToken([Number.NaN, Number.NEGATIVE_INFINITY, 0], all, new Random(0))).toBe(2);
    expect(sampleToken([Number.NaN, Number.NaN], all, new Random(0))).toBe(0);
  });
});

describe('candidates', () => {
  it('keeps the k best, the nucleus, and what min-p allows', () => {
    expect(candidates(logits, { ...all, topK: 2 }).ids).toEqual([2, 1]);
    expect(candidates(logits, { ...all, topP: 0.59 }).ids).toEqual([2, 1]);
    expect(candidates(logits, { ...all, topP: 0.61 }).ids).toEqual([2, 1, 3]);
    expect(candidates(logits, { ...all, minP: 0.4 }).ids).toEqual([2, 1, 3]);
    expect(candidates(logits, { ...all, topP: 1e-9 }).ids).toEqual([2]);
  });
});

describe('validateSampling', () => {
  it('names every value out of range', () => {
    expect(() => validateSampling({ temperature: -1, topP: 0, topK: 1.5, minP: 2 })).toThrow(
      /temperature.*topP.*topK.*minP/,
    );
  });
});
