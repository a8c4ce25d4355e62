import { readFileSync } from 'node:fs';
import { expect, it, vi } from 'vitest';

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

it('has a README whose examples are those that run', () => {
  for (const name of ['readme', 'merging'])
    expect(read('../README.md')).toContain(read(`../examples/${name}.ts`).trimEnd());
});

it('has an example of merging that does what it says', async () => {
  const lines: unknown[][] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((...line) => void lines.push(line));
  await import('../examples/merging.ts');
  log.mockRestore();
  const [[tokens, , entries, , logits]] = lines as [[number, string, number, string, ArrayLike<number>]];
  expect(tokens).toBe(10);
  expect(entries).toBeGreaterThan(1);
  expect(entries).toBeLessThan(10);
  expect(Array.from(logits).every((x) => Number.isFinite(x) && x !== 0)).toBe(true);
});
