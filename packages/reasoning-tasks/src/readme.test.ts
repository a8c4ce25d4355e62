import { readFileSync } from 'node:fs';
import { Random } from '@minke/core';
import { expect, it, vi } from 'vitest';
import { generate } from './families.ts';

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

it('has a README whose example is the one that runs', () => {
  expect(read('../README.md')).toContain(read('../examples/readme.ts').trimEnd());
});

it('has an example that does what it says', async () => {
  const lines: unknown[][] = [];
  const rows: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((...line) => void lines.push(line));
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => rows.push(String(text)) > 0);
  await import('../examples/readme.ts');
  log.mockRestore();
  write.mockRestore();
  const problem = generate('products', new Random(1), 3);
  expect(lines[0]?.slice(0, 3)).toEqual([problem.prompt, '->', problem.answer]);
  expect(lines[2]).toEqual([{ score: 1, extracted: problem.answer }]);
  expect(lines[3]).toEqual([{ score: 0, extracted: '7' }]);
  expect(rows.map((row) => JSON.parse(row).family)).toEqual(Array(3).fill('number_sorting'));
  expect(lines[4]).toEqual([true]);
  expect(lines[5]?.[0]).toMatch(/\nwrong\ntry .*\nright\nso /s);
  expect(lines.slice(6)).toEqual([
    [
      [
        ['wrong', true],
        ['right', true],
      ],
    ],
    [0],
    [2],
    [2],
    ['<result>2</result>'],
  ]);
});
