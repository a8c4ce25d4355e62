import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { families, missed, readmeRows } from './first-light.mjs';

const published = JSON.parse(
  readFileSync(new URL('../../packages/tiny-reasoner/report.json', import.meta.url), 'utf8'),
);
const measured = Object.fromEntries(
  published.stages.map(({ metric, value, low, high, n }) => [
    metric.slice('pass@1/'.length),
    { n, passAt1: { value, low, high } },
  ]),
);
const model = { parameters: 4.6e6, bytes: 9.1e6 };

it('asks for every family of the published model, and lets that model pass', () => {
  expect([...families].sort()).toEqual(Object.keys(measured).sort());
  expect(missed(measured, model)).toEqual([]);
});

it('names every number that misses', () => {
  const { number_comparison: _, ...without } = measured;
  const low = { n: 500, passAt1: { value: 0.8996, low: 0.87, high: 0.92 } };
  expect(missed({ ...without, products: low }, { parameters: 1.9e6, bytes: 13e6 })).toEqual([
    'products: expected at least 90.0 %, got 90.0 % (87.0 % to 92.0 %, n 500)',
    'number_comparison: expected at least 90.0 %, got no measurement',
    'parameters: expected 2 to 6 million, got 1.90',
    'size: expected less than 12 MB, got 13.0',
  ]);
});

it('writes the rows that the README has', () => {
  const wanted = readFileSync(
    new URL('../../packages/tiny-reasoner/README.md', import.meta.url),
    'utf8',
  ).split('\n');
  const cells = (row) => row.split('|').map((cell) => cell.trim());
  const known = wanted.map((row) => cells(row).join('|'));
  for (const row of readmeRows(measured).trim().split('\n').slice(2))
    expect(known).toContain(cells(row).join('|'));
});
