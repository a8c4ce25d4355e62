import { Random } from '@minke/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dataset, heldOut, wholeSplit } from './dataset.ts';
import { familyNames, generate, pose } from './families.ts';
import type { Problem } from './problem.ts';
import { hash64, type Split, split } from './split.ts';
import type { Difficulty } from './task-family.ts';
import { mixture, TaskStream } from './task-stream.ts';

const parts: readonly Split[] = ['train', 'validation', 'test'];

describe('hash64', () => {
  it('keeps its values, on which every published split rests', () => {
    expect(hash64('')).toBe(0xefd01f60ba992926n);
    expect(hash64('chain_sum 348+977').toString(16)).toMatchInlineSnapshot(`"53a3d470b9b220a7"`);
    expect(hash64('products 47*86').toString(16)).toMatchInlineSnapshot(`"41009a15813e2ec"`);
  });
});

describe('split', () => {
  it('puts about 8, 1 and 1 of 10 problems into train, validation and test', () => {
    const shares: Record<Split, number> = { train: 0, validation: 0, test: 0 };
    for (let left = 0; left < 300; left++)
      for (let right = left; right < 300; right++)
        shares[split({ canonical: `chain_sum ${left}+${right}` })]++;
    const total = 300 * 301 * 0.5;
    expect(Math.abs(shares.test / total - 0.1)).toBeLessThan(0.005);
    expect(Math.abs(shares.validation / total - 0.1)).toBeLessThan(0.005);
  });

  it('puts mirrored, reworded and reversed problems into the same split', () => {
    const random = new Random(5);
    const same = (a: Problem, b: Problem) => {
      expect(b.id).toBe(a.id);
      expect(split(b)).toBe(split(a));
    };
    for (let i = 0; i < 300; i++) {
      const [left, right] = [random.integer(0, 1000), random.integer(0, 1000)];
      for (const operation of ['add', 'subtract'] as const)
        same(
          pose('chain_sum', { operation, left, right }, 3, random),
          pose('chain_sum', { operation, left: right, right: left }, 2, random),
        );
      const [p, q] = [left % 100, right % 100];
      same(
        pose('products', { left: p, right: q }, 3, random),
        pose('products', { left: q, right: p }, 3, random),
      );
      const numbers = Array.from({ length: 5 }, () => random.integer(0, 1000));
      same(
        pose('number_sorting', { numbers, direction: 'ascending' }, 3, random),
        pose('number_sorting', { numbers: random.shuffle([...numbers]), direction: 'descending' }, 3, random),
      );
      same(
        pose('number_comparison', { left, right, wanted: 'larger' }, 3, random),
        pose('number_comparison', { left: right, right: left, wanted: 'smaller' }, 3, random),
      );
    }
  });

  it('never lets a training problem of any level, seed or wording into a held-out set', () => {
    const training = new Set<string>();
    const stream = mixture(99, 'train');
    for (let i = 0; i < 30_000; i++) training.add(stream.next().canonical);
    let held = 0;
    for (const name of familyNames)
      for (const difficulty of [1, 2, 3] as const)
        for (const part of ['validation', 'test'] as const) {
          const problems = wholeSplit(name, part, { seed: 4, difficulty }) ?? [
            ...dataset(name, part, { seed: 4, difficulty, count: 400 }),
          ];
          for (const problem of problems) expect(training.has(problem.canonical)).toBe(false);
          held += problems.length;
        }
    expect(held).toBeGreaterThan(8_000);
  });
});

describe('dataset', () => {
  it('gives the asked number of different problems of its split and level, the same for the same seed', () => {
    for (const name of familyNames)
      for (const part of parts) {
        const options = { seed: 21, count: 150, difficulty: 3 as Difficulty };
        const problems = [...dataset(name, part, options)];
        expect(new Set(problems.map((problem) => problem.id)).size).toBe(150);
        expect(problems.every((problem) => split(problem) === part && problem.family === name)).toBe(true);
        expect([...dataset(name, part, options)]).toEqual(problems);
        expect([...dataset(name, part, { ...options, seed: 22 })]).not.toEqual(problems);
        expect([...dataset(name, part, { ...options, count: 50 })]).toEqual(problems.slice(0, 50));
      }
  });

  it('says how many there are when a split has fewer than asked for', () => {
    expect(() => [...dataset('products', 'test', { seed: 1, count: 50, difficulty: 1 })]).toThrow(
      /expected at least 50 problems in products test level 1, got \d+; ask for fewer/,
    );
    expect(() => [
      ...dataset('products', 'test', { seed: 1, count: 5, difficulty: 4 as Difficulty }),
    ]).toThrow(/difficulty 1, 2 or 3, got 4/);
    expect(() => [...dataset('sudoku' as 'products', 'test', { seed: 1, count: 5 })]).toThrow(
      /expected one of/,
    );
  });
});

describe('wholeSplit', () => {
  it('lists each problem of a small family once over the three splits', () => {
    const ids = parts.flatMap((part) => wholeSplit('products', part, { seed: 0 })?.map(({ id }) => id) ?? []);
    expect(ids).toHaveLength((90 * 91) / 2);
    expect(new Set(ids).size).toBe(ids.length);
    expect(wholeSplit('number_sorting', 'test', { seed: 0 })).toBeNull();
  });

  it('covers everything the random draws of its level can give', () => {
    for (const [name, difficulty] of [
      ['products', 1],
      ['products', 2],
      ['chain_sum', 1],
      ['number_comparison', 1],
    ] as const) {
      const listed = new Set(
        parts.flatMap((part) => wholeSplit(name, part, { seed: 0, difficulty })?.map(({ id }) => id) ?? []),
      );
      const random = new Random(8);
      for (let i = 0; i < 3000; i++) expect(listed.has(generate(name, random, difficulty).id)).toBe(true);
    }
  });

  it('is what a model is measured on where it is small', () => {
    expect(heldOut('products', 'test', { seed: 0, count: 500 })).toHaveLength(
      wholeSplit('products', 'test', { seed: 0 })?.length ?? 0,
    );
    for (const name of ['chain_sum', 'number_sorting', 'letter_counting', 'number_comparison'] as const)
      expect(heldOut(name, 'test', { seed: 0, count: 500 })).toHaveLength(500);
  });
});

describe('TaskStream', () => {
  it('resumes exactly from a state that went through JSON, at any position', () => {
    fc.assert(
      fc.property(fc.nat(1e9), fc.nat(40), (seed, taken) => {
        const stream = new TaskStream({ seed });
        for (let i = 0; i < taken; i++) stream.next();
        const resumed = TaskStream.fromState(JSON.parse(JSON.stringify(stream.state())));
        for (let i = 0; i < 5; i++) expect(resumed.next()).toEqual(stream.next());
        expect(resumed.state()).toEqual(stream.state());
        expect(resumed.at(taken)).toEqual(new TaskStream({ seed }).at(taken));
      }),
      { numRuns: 40 },
    );
  });

  it('stays in its split and follows its weights', () => {
    const stream = new TaskStream({
      seed: 3,
      split: 'validation',
      weights: { products: 3, letter_counting: 1 },
      levels: [0, 1, 1],
    });
    const counts: Record<string, number> = {};
    const taken = Array.from({ length: 2000 }, () => stream.next());
    for (const { family, difficulty } of taken) {
      counts[family] = (counts[family] ?? 0) + 1;
      counts[difficulty] = (counts[difficulty] ?? 0) + 1;
    }
    expect(taken.every((problem) => split(problem) === 'validation')).toBe(true);
    expect(Object.keys(counts).sort()).toEqual(['2', '3', 'letter_counting', 'products']);
    expect(Math.abs((counts.products ?? 0) - 1500)).toBeLessThan(80);
    expect(Math.abs((counts[2] ?? 0) - 1000)).toBeLessThan(90);
  });

  it('draws level 4 where it is asked for, of families that have it', () => {
    const stream = new TaskStream({ seed: 1, weights: { gcd: 1, countdown: 1 }, levels: [0, 0, 1, 1] });
    const drawn = Array.from({ length: 200 }, () => stream.next().difficulty);
    expect(new Set(drawn)).toEqual(new Set([3, 4]));
    expect(Math.abs(drawn.filter((level) => level === 4).length - 100)).toBeLessThan(30);
    expect(() => new TaskStream({ seed: 1, levels: [0, 0, 1, 1] })).toThrow(/with level 4, got chain_sum/);
    const same = new TaskStream({ seed: 1, levels: [0.1, 0.2, 0.7, 0] });
    expect(same.at(7)).toEqual(new TaskStream({ seed: 1 }).at(7));
  });

  it('is an endless iterable', () => {
    const taken: Problem[] = [];
    for (const problem of mixture(1, 'train')) if (taken.push(problem) === 10) break;
    expect(taken).toEqual(Array.from({ length: 10 }, (_, i) => mixture(1, 'train').at(i)));
  });

  it('rejects weights and positions that make no sense', () => {
    expect(() => new TaskStream({ seed: 1, weights: {} })).toThrow(/one of them > 0/);
    expect(() => new TaskStream({ seed: 1, weights: { products: -1 } })).toThrow(/weights >= 0/);
    expect(() => new TaskStream({ seed: 1, weights: { chess: 1 } as never })).toThrow(/expected one of/);
    expect(() => TaskStream.fromState({ ...mixture(1, 'train').state(), position: -1 })).toThrow(
      /position >= 0/,
    );
  });
});
