import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { words } from './families/words.ts';
import { chainOfThought, familyNames, generate, pose, templateTexts } from './families.ts';
import type { CoreFamilyName, Problem, ProblemOf } from './problem.ts';
import { answerSentence, completionText, toChat, toJsonLines } from './solution.ts';
import type { Difficulty } from './task-family.ts';
import { defaultWeights } from './task-stream.ts';

function draw<Name extends Problem['family']>(
  name: Name,
  difficulty: Difficulty,
  count = 2000,
): ProblemOf<Name>[] {
  const random = new Random(31);
  return Array.from({ length: count }, () => generate(name, random, difficulty) as ProblemOf<Name>);
}

/** Pieces a byte-level tokenizer with whole-word tokens sees: words with their space, else single characters. */
const pieces = (text: string) => text.match(/ ?[A-Za-z]{2,}|[A-Za-z]| ?[^\sA-Za-z0-9]|\s|\d/g) ?? [];

describe('generate', () => {
  it('is determined by the seed', () => {
    for (const name of familyNames) {
      const some = (seed: number) => {
        const random = new Random(seed);
        return Array.from({ length: 20 }, () => generate(name, random, 3));
      };
      expect(some(1)).toEqual(some(1));
      expect(some(1)).not.toEqual(some(2));
    }
  });

  it('asks in several ways, each of them containing what the problem is about', () => {
    for (const name of familyNames) {
      const shapes = new Set<string>();
      for (const problem of draw(name, 3)) {
        const { metadata } = problem as ProblemOf<CoreFamilyName>;
        const parts =
          'numbers' in metadata
            ? metadata.numbers.map(String)
            : 'word' in metadata
              ? [metadata.word, metadata.letter]
              : [String(metadata.left), String(metadata.right)];
        for (const part of parts) expect(problem.prompt).toContain(part);
        let shape = problem.prompt.replaceAll(/\d+/g, '#');
        if ('word' in metadata) shape = shape.replace(metadata.word, '#').replace(/ [a-z](?=[ '])/, ' #');
        shapes.add(shape);
      }
      expect(shapes.size, name).toBeGreaterThanOrEqual(8);
    }
  });

  it('asks the question of the front page', () => {
    const prompts = new Set(
      Array.from({ length: 200 }, (_, seed) =>
        pose('chain_sum', { operation: 'add', left: 348, right: 977 }, 3, new Random(seed)),
      ).map(({ prompt }) => prompt),
    );
    expect(prompts).toContain('What is 348 + 977?');
  });

  it('keeps each level to its documented range', () => {
    for (const { metadata: m } of draw('chain_sum', 3)) {
      expect(Math.min(m.left, m.right)).toBeGreaterThanOrEqual(100);
      expect(Math.max(m.left, m.right)).toBeLessThan(1000);
    }
    for (const { metadata: m } of draw('chain_sum', 1)) expect(Math.max(m.left, m.right)).toBeLessThan(100);
    for (const { metadata: m } of draw('products', 3)) {
      expect(Math.min(m.left, m.right)).toBeGreaterThanOrEqual(10);
      expect(Math.max(m.left, m.right)).toBeLessThan(100);
    }
    for (const { metadata: m } of draw('number_sorting', 3)) {
      expect(new Set(m.numbers).size).toBe(5);
      expect(Math.max(...m.numbers)).toBeLessThan(1000);
    }
    const lengths = new Set(draw('letter_counting', 3).map(({ metadata: m }) => m.word.length));
    expect([...lengths].sort((a, b) => a - b)).toEqual([6, 7, 8, 9, 10, 11, 12]);
    for (const { metadata: m } of draw('number_comparison', 2)) expect(m.left).not.toBe(m.right);
  });

  it('balances its kinds', () => {
    const share = <T>(items: T[], test: (item: T) => boolean) => items.filter(test).length / items.length;
    const chain = draw('chain_sum', 3);
    const differences = chain.filter(({ metadata }) => metadata.operation === 'subtract');
    expect(share(chain, ({ metadata }) => metadata.operation === 'add')).toBeCloseTo(0.5, 1);
    expect(share(differences, ({ answer }) => answer.startsWith('-'))).toBeCloseTo(0.5, 1);
    expect(share(draw('number_sorting', 3), ({ metadata: m }) => m.direction === 'descending')).toBeCloseTo(
      0.2,
      1,
    );
    expect(share(draw('number_comparison', 3), ({ metadata: m }) => m.wanted === 'larger')).toBeCloseTo(
      0.5,
      1,
    );
    const counting = draw('letter_counting', 3, 6000);
    for (const answer of ['0', '1', '2', '3'])
      expect(share(counting, (problem) => problem.answer === answer)).toBeGreaterThan(0.08);
    for (const letter of 'abcdefghijklmnopqrstuvwxyz')
      expect(share(counting, ({ metadata: m }) => m.letter === letter)).toBeGreaterThan(0.005);
    const numbers = draw('number_sorting', 3).flatMap(({ metadata: m }) => m.numbers);
    expect(numbers.reduce((a, b) => a + b) / numbers.length).toBeCloseTo(499.5, -2);
  });

  it('answers as plain arithmetic does', () => {
    for (const { metadata: m, answer } of draw('chain_sum', 2))
      expect(answer).toBe(String(m.operation === 'add' ? m.left + m.right : m.left - m.right));
    for (const { metadata: m, answer } of draw('letter_counting', 3))
      expect(answer).toBe(String([...m.word].filter((letter) => letter === m.letter).length));
  });
});

describe('templateTexts', () => {
  it('names every word of prompts, thoughts and answers, and no content', () => {
    const known = new Set(templateTexts().flatMap(pieces));
    const unknown = new Set<string>();
    const random = new Random(2);
    for (const name of familyNames)
      for (let i = 0; i < 1500; i++) {
        const problem = generate(name, random, ((i % 3) + 1) as Difficulty);
        let text = `${problem.prompt}\n${completionText(problem, { verify: true })}`.replace('</think>', '');
        if (problem.family === 'letter_counting') {
          const { word, letter } = problem.metadata;
          if (templateTexts().join(' ').includes(word)) continue; // an invented word may be one of ours
          text = text.replace(word, '0').replaceAll(new RegExp(`(?<![a-z])${letter}(?![a-z])`, 'g'), '0');
          text = text.replace(/\n(?:[a-z]\d+)+\n/, '\n0\n').replaceAll(/\d[a-z](?=\d| )/g, '0');
        }
        for (const piece of pieces(text.replaceAll(/[1-9]/g, '0'))) if (!known.has(piece)) unknown.add(piece);
      }
    expect([...unknown]).toEqual([]);
    expect(templateTexts().join('')).not.toMatch(/[1-9]/);
  });

  it('shares no word with the words whose letters are counted', () => {
    const phrasing = new Set(templateTexts().flatMap((text) => text.toLowerCase().match(/[a-z]+/g) ?? []));
    expect(words.filter((word) => phrasing.has(word))).toEqual([]);
    expect(new Set(words).size).toBe(words.length);
    expect(words.every((word) => /^[a-z]{6,12}$/.test(word))).toBe(true);
    expect(words.length).toBeGreaterThan(450);
  });
});

describe('toChat', () => {
  it('keeps question, thought and answer apart, as one JSON line each', () => {
    const problems = draw('products', 3, 3);
    const lines = [...toJsonLines(problems)];
    expect(lines.map((line) => JSON.parse(line))).toEqual(
      problems.map((problem) => ({
        id: problem.id,
        family: 'products',
        difficulty: 3,
        answer: problem.answer,
        messages: [
          { role: 'user', content: problem.prompt },
          {
            role: 'assistant',
            content: `The answer is ${problem.answer}.`,
            reasoning_content: chainOfThought(problem),
          },
        ],
      })),
    );
    expect(lines.every((line) => line.endsWith('}\n') && line.indexOf('\n') === line.length - 1)).toBe(true);
  });

  it('is the completion text in two parts', () => {
    for (const problem of draw('number_sorting', 2, 50)) {
      const [, assistant] = toChat(problem, { verify: true }).messages;
      expect(`${assistant.reasoning_content}\n</think>\n${assistant.content}`).toBe(
        completionText(problem, { verify: true }),
      );
      expect(assistant.content).toBe(answerSentence(problem));
    }
  });
});

describe('lengths', () => {
  it('keeps question, thought and answer of the mixture under 90 tokens in the mean', () => {
    const mean = (name: Problem['family']) => {
      const problems = draw(name, 3, 500) as Problem[];
      const total = problems.reduce((sum, problem) => {
        const text = `${problem.prompt}${completionText(problem).replace('</think>', '#')}`;
        const letters = problem.family === 'letter_counting' ? problem.metadata.word.length - 1 : 0;
        return sum + pieces(text).length + letters;
      }, 0);
      return total / problems.length;
    };
    const total = Object.values(defaultWeights).reduce((a, b) => a + b);
    const mixed = familyNames.reduce((sum, name) => sum + (defaultWeights[name] / total) * mean(name), 0);
    expect(mixed).toBeLessThan(85);
    for (const name of familyNames) expect(mean(name)).toBeLessThan(115);
  });
});
