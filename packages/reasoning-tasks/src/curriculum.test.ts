import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Curriculum, type CurriculumOptions } from './curriculum.ts';
import { split } from './split.ts';

const bySuccess: CurriculumOptions = {
  seed: 3,
  weights: { gcd: 1, countdown: 1 },
  pacing: { by: 'success', window: 10, hardest: 4 },
};

describe('Curriculum', () => {
  it('follows its schedule', () => {
    const curriculum = new Curriculum({
      seed: 1,
      weights: { lcm: 1, products: 1 },
      split: 'validation',
      pacing: {
        by: 'schedule',
        stages: [
          { from: 0, levels: [1] },
          { from: 50, levels: [0, 1, 1] },
          { from: 100, levels: [0, 0, 0, 1] },
        ],
      },
    });
    const taken = Array.from({ length: 150 }, () => curriculum.next());
    expect(taken.every((problem) => split(problem) === 'validation')).toBe(true);
    expect(new Set(taken.slice(0, 50).map(({ difficulty }) => difficulty))).toEqual(new Set([1]));
    expect(new Set(taken.slice(50, 100).map(({ difficulty }) => difficulty))).toEqual(new Set([2, 3]));
    for (const { family, difficulty } of taken.slice(100)) expect(difficulty).toBe(family === 'lcm' ? 4 : 3);
  });

  it('raises and lowers each family by its own success', () => {
    const curriculum = new Curriculum(bySuccess);
    for (let i = 0; i < 400; i++) {
      const problem = curriculum.next();
      curriculum.report(problem, problem.family === 'gcd' ? 1 : 0);
    }
    expect(curriculum.level('gcd')).toBe(4);
    expect(curriculum.level('countdown')).toBe(1);
    for (let i = 0; i < 400; i++) {
      const problem = curriculum.next();
      curriculum.report(problem, problem.family === 'gcd' ? 0 : 0.5);
    }
    expect(curriculum.level('gcd')).toBe(1);
    expect(curriculum.level('countdown')).toBe(1);
  });

  it('ignores what could not be judged, and results of other levels', () => {
    const curriculum = new Curriculum(bySuccess);
    for (let i = 0; i < 50; i++) {
      curriculum.report({ family: 'gcd', difficulty: 1 }, null);
      curriculum.report({ family: 'gcd', difficulty: 3 }, 1);
    }
    expect(curriculum.state().progress).toEqual({});
    expect(() => curriculum.report({ family: 'gcd', difficulty: 1 }, 2)).toThrow(/score in \[0, 1\], got 2/);
  });

  it('keeps a share of easier problems', () => {
    const curriculum = Curriculum.fromState({
      options: bySuccess,
      position: 0,
      progress: { gcd: { level: 3, results: 0, right: 0 }, countdown: { level: 3, results: 0, right: 0 } },
    });
    const taken = Array.from({ length: 1000 }, () => curriculum.next().difficulty);
    const easier = taken.filter((level) => level < 3).length;
    expect(easier).toBeGreaterThan(150);
    expect(easier).toBeLessThan(250);
    expect(Math.max(...taken)).toBe(3);
  });

  it('restores exactly from a state that went through JSON', () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.array(fc.boolean(), { maxLength: 60 }), (seed, outcomes) => {
        const curriculum = new Curriculum({ ...bySuccess, seed });
        for (const right of outcomes) curriculum.report(curriculum.next(), right ? 1 : 0);
        const resumed = Curriculum.fromState(JSON.parse(JSON.stringify(curriculum.state())));
        for (let i = 0; i < 30; i++) {
          const problem = curriculum.next();
          expect(resumed.next()).toEqual(problem);
          curriculum.report(problem, i % 3 === 0 ? 0 : 1);
          resumed.report(problem, i % 3 === 0 ? 0 : 1);
        }
        expect(resumed.state()).toEqual(curriculum.state());
      }),
      { numRuns: 30 },
    );
  });

  it('rejects options that make no sense', () => {
    const make = (pacing: CurriculumOptions['pacing']) => () => new Curriculum({ seed: 1, pacing });
    expect(make({ by: 'schedule', stages: [] })).toThrow(/ascending from 0/);
    expect(make({ by: 'schedule', stages: [{ from: 0, levels: [0, 0] }] })).toThrow(/one of them > 0/);
    expect(make({ by: 'success', raise: 0.1, lower: 0.5 })).toThrow(/lower < raise/);
    expect(() => new Curriculum({ ...bySuccess, weights: { chess: 1 } as never })).toThrow(/expected one of/);
    expect(() => Curriculum.fromState({ options: bySuccess, position: -1, progress: {} })).toThrow(
      /position >= 0/,
    );
  });
});
