import { readFileSync } from 'node:fs';
import { expect, it, vi } from 'vitest';

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

it('has a README whose examples are those that run', () => {
  for (const name of ['readme', 'merging'])
    expect(read('../README.md')).toContain(read(`../examples/${name}.ts`).trimEnd());
});

it('has an example that does what it says', async () => {
  const lines: unknown[][] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((...line) => void lines.push(line));
  await import('../examples/readme.ts');
  log.mockRestore();
  expect(lines[0]![0]).toBe('<｜begin▁of▁sentence｜><｜User｜>What is <think>?<｜Assistant｜><think>\n');
  const deltas = lines[1]![0] as { thought?: string; text?: string }[];
  expect(deltas.map((delta) => delta.thought ?? '').join('')).toBe('Hm, 🐋.');
  expect(deltas.map((delta) => delta.text ?? '').join('')).toBe('The answer is 42.');
});

it('has an example of merging that does what it says', async () => {
  const lines: unknown[][] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((...line) => void lines.push(line));
  await import('../examples/merging.ts');
  log.mockRestore();
  const [[shape, , entries], [ratio, statistics]] = lines as [[number[], string, number[]], [number, object]];
  expect(shape).toEqual([16, 8]);
  expect(entries[0]).toBeLessThan(16);
  expect(ratio).toBeGreaterThan(0.5);
  expect(statistics).toMatchObject({ tokens: 16, entries: entries[0] });
});
