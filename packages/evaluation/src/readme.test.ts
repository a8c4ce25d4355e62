import { readFileSync } from 'node:fs';
import { expect, it, vi } from 'vitest';
import type { Difference } from './bootstrap.ts';
import type { Failure } from './pass-at-1.ts';

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

it('has a README whose example is the one that runs', () => {
  expect(read('../README.md')).toContain(read('../examples/readme.ts').trimEnd());
});

it('has an example that does what it says', async () => {
  const lines: unknown[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((line) => void lines.push(line));
  await import('../examples/readme.ts');
  log.mockRestore();
  const [table, failure, rate, passing, markdown, difference, exact, bits] = lines as [
    string,
    Failure,
    { low: number },
    number,
    string,
    Difference,
    unknown,
    number,
  ];
  const accuracy = Number(/^number_comparison +200 +([\d.]+)/m.exec(table)?.[1]);
  expect(Math.abs(accuracy - 50)).toBeLessThan(15);
  expect(failure.extracted).not.toBe(failure.expected);
  expect(rate.low).toBeCloseTo(0.8256, 4);
  expect(passing).toBeCloseTo(11 / 12, 9);
  expect(markdown).toMatch(/\| all \| 200 \| 800 \| 50\.0 .*\| 100\.0 \(98\.1 to 100\.0\)/);
  expect(difference).toMatchObject({ n: 200 });
  expect(difference.value).toBeCloseTo(0.5 - accuracy / 100, 9);
  expect(exact).toEqual({ training: 0, evaluation: 0 });
  expect(bits).toBeCloseTo(8, 12);
});
