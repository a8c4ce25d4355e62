import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import { auto } from '@minke/gpu-backends';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Evaluation } from '../report/evaluation-file.ts';
import { runStages, type Stage } from '../run/index.ts';
import { recipeBars } from './bars.ts';
import { comparisonStage, controlPairs, linePairs } from './comparisons.ts';
import type { MeasuredRecord } from './measure.ts';
import { recipeStages } from './recipe.ts';
import { recipeSettings } from './settings.ts';

let root: string;
let backend: Backend;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'minke-comparisons-'));
  backend = await auto();
});
afterAll(() => {
  backend.dispose();
  rmSync(root, { recursive: true, force: true });
});

const records = (scores: readonly number[]): MeasuredRecord[] =>
  scores.map((strict, i) => ({
    ...{ id: `p${i}`, family: 'gcd', sample: 0, strict, answer: null, length: 3, truncated: false },
    ...{ thought: true, set: i < 20 ? 'arithmetic' : 'general' },
  }));

/** A measurement that is known. */
const measured = (label: string, scores: readonly number[]): Stage => ({
  ...{ name: `measure-${label}`, version: 1, inputs: {}, settings: {} },
  async run({ folder }) {
    mkdirSync(folder, { recursive: true });
    const lines = records(scores).map((record) => `${JSON.stringify(record)}\n`);
    writeFileSync(join(folder, 'records.jsonl'), lines.join(''));
  },
});

it('gives mean differences over the same problems, set by set, and leaves the bars', async () => {
  const before = Array.from({ length: 30 }, (_, i) => Number(i % 4 === 0));
  const after = before.map((score, i) => (i < 10 ? 1 : i >= 20 ? 0.5 : score));
  const stages = [measured('a', before), measured('b', after), comparisonStage([['b', 'a']])];
  const results = await runStages(stages, {
    ...{ folder: join(root, 'run'), recipe: 'r', seed: 0, command: 'c', commit: 'n' },
  });
  const folder = results.at(-1)?.folder as string;
  const [evaluation] = JSON.parse(readFileSync(join(folder, 'evaluation.json'), 'utf8')) as Evaluation[];
  const row = (name: string) =>
    evaluation?.rows.find(({ metric }) => metric === `difference/${name}`) as Evaluation['rows'][number];
  expect(evaluation?.stage).toBe('b minus a');
  expect(row('arithmetic').value).toBeCloseTo(7 / 20, 12);
  expect(row('pass@1')).toMatchObject({ value: row('arithmetic').value, n: 20 });
  expect(row('general').value).toBeCloseTo(0.5 - 0.3, 12);
  expect(row('arithmetic').low as number).toBeLessThan(row('arithmetic').value);
  expect(JSON.parse(readFileSync(join(folder, 'bars.json'), 'utf8'))).toEqual({ bars: recipeBars });
});

it('compares and bars only what the recipe measures', () => {
  const stages = recipeStages(recipeSettings.full, { backend, controls: true });
  const names = stages.map(({ name }) => name);
  for (const label of [...linePairs, ...controlPairs].flat()) expect(names).toContain(`measure-${label}`);
  for (const { of, minus, over } of recipeBars)
    for (const { stage } of [of, ...(minus ? [minus] : []), ...(over ? [over] : [])])
      expect(names).toContain(`measure-${stage}`);
});
