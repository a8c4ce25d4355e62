import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { recipeBars } from '../stages/bars.ts';
import { type Bar, judgeBars, readBars } from './bars.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'minke-bars-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const figure = (stage: string, metric: string, value: number) => ({
  stage,
  rows: [{ metric, value, low: null, high: null, n: 10, seeds: [0] }],
});
const measured = [figure('a', 'm', 0.5), figure('b', 'm', 0.2), figure('c', 'm', 0)];
const of = (stage: string) => ({ stage, metric: 'm' });
const judge = (bar: Omit<Bar, 'what'>) => judgeBars([{ what: 'w', ...bar }], measured)[0];

it('judges a figure, a difference and a ratio against its limit', () => {
  expect(judge({ of: of('a'), bound: 'at least', limit: 0.5 })).toMatchObject({ value: 0.5, outcome: 'met' });
  expect(judge({ of: of('a'), bound: 'above', limit: 0.5 })).toMatchObject({ outcome: 'missed' });
  expect(judge({ of: of('a'), bound: 'at most', limit: 0.4 })).toMatchObject({ outcome: 'missed' });
  // 0.5 - 0.2 is a hair below 0.3 in floating point.
  const rise = judge({ of: of('a'), minus: of('b'), bound: 'at least', limit: 0.3 });
  expect(rise?.outcome).toBe('met');
  const ratio = judge({ of: of('a'), over: of('b'), bound: 'at least', limit: 2.5 });
  expect(ratio).toMatchObject({ value: 2.5, outcome: 'met' });
  expect(judge({ of: of('a'), over: { ...of('c'), floor: 1 }, bound: 'below', limit: 3 })?.value).toBe(0.5);
});

it('says so where a figure was not measured or a ratio is to nothing', () => {
  for (const bar of [
    { of: of('d') },
    { of: of('a'), minus: of('d') },
    { of: of('a'), over: of('d') },
    { of: of('a'), over: of('c') },
  ])
    expect(judge({ ...bar, bound: 'at least', limit: 0 })).toMatchObject({
      value: null,
      outcome: 'not measured',
    });
});

it('reads the bars of the recipe back, and names a file that holds others', () => {
  const path = join(root, 'bars.json');
  writeFileSync(path, JSON.stringify({ bars: recipeBars }));
  expect(readBars(root)).toEqual(recipeBars);
  for (const bars of [undefined, [{ what: 'w' }], [{ ...recipeBars[0], bound: 'about' }]]) {
    writeFileSync(path, JSON.stringify({ bars }));
    expect(() => readBars(root)).toThrow(/bars\.json: expected bars with/);
  }
});
