import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { addResult, writePage } from './results.mjs';

let folder;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'minke-results-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const report = {
  stages: [
    { stage: 'base', metric: 'pass@1', value: 0.4, low: 0.3, high: 0.5, n: 2000, seeds: [3] },
    { stage: 'final', metric: 'pass@1', value: 0.87, low: 0.86, high: 0.88, n: 2000, seeds: [3] },
    {
      stage: 'final',
      metric: 'search/verified retries',
      value: 12.34,
      low: 12,
      high: 13,
      n: 500,
      seeds: [3],
    },
    { stage: 'reward-model', metric: 'safe/accuracy', value: 0.9, low: 0.8, high: 1, n: 500, seeds: [3] },
  ],
  command: 'minke train recipe --preset demo --out /home/someone/here --seed 3',
  commit: '0123456789abcdef',
  seed: 3,
  seconds: 60,
  bars: [
    { what: 'a', bound: 'at least', limit: 0.9, value: 0.87, outcome: 'missed' },
    { what: 'b', bound: 'below', limit: 0, value: null, outcome: 'not measured' },
  ],
  compute: [],
};
const write = (value) => writeFileSync(join(folder, 'report.json'), JSON.stringify(value));

it('keeps a report, but for the place where it was made, and shows it', () => {
  write(report);
  expect(addResult(folder, folder)).toBe('demo-3');
  const kept = JSON.parse(readFileSync(join(folder, 'results/demo-3.json'), 'utf8'));
  expect(kept).toEqual({ ...report, command: 'minke train recipe --preset demo --out runs/demo-3 --seed 3' });
  writePage(folder);
  const page = readFileSync(join(folder, 'README.md'), 'utf8').replace(/ +/g, ' ');
  expect(page).toContain('| a | ≥ 0.9 | 0.870 (missed) |');
  expect(page).toContain('| b | < 0 | – |');
  expect(page).toContain('| final | 0.870 | – | – | – | – | – | 12.3 | – | – |');
  expect(page).not.toContain('| reward-model');
});

it('refuses a run that has not come to its end', () => {
  write({ ...report, bars: [] });
  expect(() => addResult(folder, folder)).toThrow(/run that has ended/);
});
