import { split } from '@minke/reasoning-tasks';
import { describe, expect, it } from 'vitest';
import type { Task } from './task.ts';
import { recipeFamilies, type TaskSetName, taskSets } from './task-sets.ts';
import { heldOutProblems, tasksOf } from './task-stream.ts';
import { fingerprint, firstRows } from './testing/rows.ts';

const share = (tasks: readonly Task[], is: (task: Task) => boolean) => tasks.filter(is).length / tasks.length;

describe('tasksOf', () => {
  it('mixes 60 % reasoning and 40 % general requests, two in five in Spanish', () => {
    const tasks = firstRows(tasksOf('r1-mini', { seed: 1 }), 4000);
    expect(share(tasks, ({ domain }) => domain === 'general')).toBeCloseTo(0.4, 1);
    expect(share(tasks, ({ language }) => language === 'es')).toBeCloseTo(0.4, 1);
    for (const [kind, weight] of Object.entries(taskSets.general.general))
      expect(Math.abs(share(tasks, ({ family }) => family === kind) - 0.4 * weight), kind).toBeLessThan(0.02);
    for (const [name, { weight }] of Object.entries(taskSets.reasoning.reasoning))
      expect(Math.abs(share(tasks, ({ family }) => family === name) - 0.6 * weight), name).toBeLessThan(0.02);
  });

  it('asks in the language it says', () => {
    for (const { language, prompt, family } of firstRows(tasksOf('r1-mini', { seed: 2 }), 500))
      if (/[¿¡áéíóúñ]/.test(prompt)) expect(language, `${family}: ${prompt}`).toBe('es');
  });

  it('draws each split from its own side of the hash', () => {
    for (const part of ['train', 'validation', 'test'] as const)
      for (const task of firstRows(tasksOf('r1-mini', { seed: 3, split: part }), 400))
        expect(split({ canonical: task.canonical })).toBe(part);
  });

  it('gives the task at a position whatever was asked before', () => {
    const at = tasksOf('r1-mini', { seed: 4 });
    const later = at(700);
    firstRows(at, 20);
    expect(at(700)).toEqual(later);
    expect(tasksOf('r1-mini', { seed: 5 })(700)).not.toEqual(later);
  });

  it('keeps the factors of products below a hundred', () => {
    for (const { metadata, answer } of firstRows(tasksOf('arithmetic', { seed: 6 }), 2000))
      if ('family' in metadata && metadata.family === 'products') expect(Number(answer)).toBeLessThan(10_000);
  });

  it('draws the same tasks for ever', () => {
    const prints = (Object.keys(taskSets) as TaskSetName[]).map((name) => [
      name,
      fingerprint(firstRows(tasksOf(name, { seed: 7 }))),
    ]);
    expect(Object.fromEntries(prints)).toMatchInlineSnapshot(`
      {
        "arithmetic": "179a065da63f84d6",
        "beyond-arithmetic": "27870fa37388f1c5",
        "beyond-parity": "a725284c4f054a75",
        "beyond-reasoning": "4864b5c6198bafc2",
        "beyond-search": "7f422c68d41ea781",
        "derived": "f9a67d1207830275",
        "evolution": "0a54304b230a9c68",
        "general": "1afe9adc00a18b93",
        "parity": "b2c0a786aebbd087",
        "r1-mini": "0f1802bed35cd48b",
        "reasoning": "b0925b327cb8466b",
        "search": "3a474ee7af7b1f48",
      }
    `);
  });
});

describe('heldOutProblems', () => {
  const names = Object.keys(taskSets) as TaskSetName[];

  it.each(names)('gives 2,000 different test problems of %s', (name) => {
    const problems = heldOutProblems(name, 2000, 0);
    expect(new Set(problems.map(({ id }) => id)).size).toBe(2000);
    expect(problems.every(({ canonical }) => split({ canonical }) === 'test')).toBe(true);
  });

  it('begins with the same problems whatever the count, and has the families of the mix', () => {
    const problems = heldOutProblems('reasoning', 600, 1);
    expect(heldOutProblems('reasoning', 50, 1)).toEqual(problems.slice(0, 50));
    expect(new Set(problems.map(({ family }) => family))).toEqual(new Set(recipeFamilies));
    expect(fingerprint(problems)).toMatchInlineSnapshot(`"dd64cdd287a2da9d"`);
  });

  it('says how many there are where there are too few', () => {
    const few = { ...taskSets.parity, reasoning: { parity: { weight: 1, levels: { 1: 1 } } } };
    expect(() => heldOutProblems(few, 200, 0)).toThrow(
      /expected 200 different tasks of the test split, got \d\d;/,
    );
  });

  it('asks beyond the training distribution only where that has no such problems', () => {
    const trained = new Set(
      Object.entries(taskSets.reasoning.reasoning).flatMap(([name, { levels }]) =>
        Object.keys(levels).map((level) => `${name} ${level}`),
      ),
    );
    for (const task of heldOutProblems('beyond-reasoning', 300, 0))
      if (task.domain === 'reasoning')
        expect(trained).not.toContain(`${task.family} ${task.metadata.difficulty}`);
  });
});
