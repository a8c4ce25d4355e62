import { readFileSync } from 'node:fs';
import { expect, it, vi } from 'vitest';

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');

it('is shown in the README as the example that runs', async () => {
  expect(read('../../README.md')).toContain(read('../../examples/rewards.ts').trimEnd());
  const lines: unknown[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((line) => void lines.push(line));
  await import('../../examples/rewards.ts');
  log.mockRestore();
  expect(lines).toEqual([[2, 1.75, 0.5], 2 / 3]);
});
