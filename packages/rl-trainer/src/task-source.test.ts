import { createHash } from 'node:crypto';
import { Random } from '@minke/core';
import { allFamilyNames, type Problem, TaskStream, templateTexts } from '@minke/reasoning-tasks';
import { deepseekR1Template, deepseekSpecialTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { describe, expect, it } from 'vitest';
import { TaskSource } from './task-source.ts';
import { drawThought, type ThoughtMixture, validateThoughts } from './thought-mixture.ts';

/** Whole tokens for the five core families in English, bytes for everything else. */
const tokenizer = trainBpe(templateTexts(), {
  vocabSize: 400,
  specialTokens: deepseekSpecialTokens,
  digits: 'individual',
});
const everyFamily = Object.fromEntries(allFamilyNames.map((name) => [name, 1]));
const sloppy: ThoughtMixture = {
  verify: 0.5,
  wrongTries: [2, 1, 1],
  length: { default: 1, none: 1 },
  language: { question: 1, mixed: 1 },
  giveUp: 0.5,
};
const source = (
  thoughts?: ThoughtMixture,
  weights: Partial<Record<Problem['family'], number>> = everyFamily,
) =>
  new TaskSource(new TaskStream({ seed: 3, weights, spanish: 0.5 }), tokenizer, deepseekR1Template, thoughts);
const texts = (from: TaskSource, count: number) =>
  Array.from({ length: count }, () => tokenizer.decode(Int32Array.from(from.next().ids)));

describe('TaskSource', () => {
  it('gives the bytes it always gave where no kinds of thoughts are asked for', () => {
    const from = new TaskSource(new TaskStream({ seed: 0 }), tokenizer, deepseekR1Template);
    const hash = createHash('sha256');
    for (let i = 0; i < 500; i++) hash.update(from.next().ids);
    expect(hash.digest('hex')).toBe('f42371f024a17cb6879c49918380f840d087f709e10087fa8ff3f6ac34767fda');
    expect(Object.keys(from.state())).not.toContain('thoughts');
  });

  it('encodes every family in both languages with a tokenizer that lacks their words', () => {
    const seen = new Set<string>();
    const stream = new TaskStream({ seed: 3, weights: everyFamily, spanish: 0.5 });
    for (const text of texts(source(sloppy), 400)) {
      const { prompt, family, language = 'en' } = stream.next();
      expect(text).toContain(prompt);
      expect(text).toMatch(/(answer is|respuesta es) .*\.|I do not know\.|No lo sé\./);
      seen.add(`${family} ${language}`);
    }
    expect(seen.size).toBe(2 * allFamilyNames.length);
  });

  it('has the kinds of thoughts asked for', () => {
    const replies = texts(source(sloppy), 400).map((text) => text.split('<think>').at(-1) as string);
    const shareOf = (pattern: RegExp) =>
      replies.filter((reply) => pattern.test(reply)).length / replies.length;
    expect(shareOf(/^\s*<\/think>/)).toBeCloseTo(0.5, 1);
    // Half of those that think: of them, half try in vain first, and of these half give up.
    expect(shareOf(/I do not know|No lo sé/)).toBeCloseTo(0.125, 1);
    const plain = texts(source({}), 100);
    expect(plain).toEqual(texts(source(), 100));
  });

  it('continues where it stood, and refuses another mixture', () => {
    const first = source(sloppy);
    texts(first, 20);
    const state = JSON.parse(JSON.stringify(first.state()));
    const resumed = source(sloppy);
    resumed.restore(state);
    expect(texts(resumed, 20)).toEqual(texts(first, 20));
    for (const other of [source(), source({ verify: 1 }), source(sloppy, { gcd: 1 })])
      expect(() => other.restore(state)).toThrow(/expected the mixture the run began with/);
    const reordered = source(Object.fromEntries(Object.entries(sloppy).reverse()));
    expect(() => reordered.restore(state)).not.toThrow();
  });
});

describe('validateThoughts', () => {
  it('names every problem at once', () => {
    const wrong = {
      verify: 2,
      wrongTries: [],
      length: { huge: 1 },
      language: { en: 0 },
      giveUp: 0.5,
      mood: 1,
    };
    expect(() => validateThoughts(wrong as ThoughtMixture)).toThrow(
      /no field mood.*verify in \[0, 1\] \(got 2\).*wrongTries of.*length among.*language of.*wrongTries where giveUp/,
    );
    expect(validateThoughts(sloppy)).toBe(sloppy);
  });

  it('lets an empty thought not be given up', () => {
    const random = new Random(1);
    for (let i = 0; i < 50; i++)
      expect(
        drawThought({ wrongTries: [0, 1], giveUp: 1, length: { none: 1 } }, random).giveUp,
      ).toBeUndefined();
  });
});
