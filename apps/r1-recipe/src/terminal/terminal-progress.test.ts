import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runRecipe } from '../run-recipe.ts';
import { countingStages } from '../testing/counting-recipe.mjs';
import { sparkline } from './sparkline.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'minke-terminal-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function shown(isTTY: boolean, columns = 80): Promise<string> {
  let text = '';
  await runRecipe(countingStages({ count: 60, pauseMs: 4 }), {
    folder,
    recipe: 'counting',
    seed: 0,
    command: 'test',
    commit: 'none',
    progress: { isTTY, columns, write: (part) => (text += part) },
  });
  return text;
}

it('writes plain lines where there is no terminal, one at the start and one at the end of a stage', async () => {
  const lines = (await shown(false)).split('\n');
  expect(lines.slice(0, 2)).toEqual(['▸ Numbers  never ran', '  Numbers  from step 0']);
  expect(lines[2]).toMatch(/^✓ Numbers {2}\d\.\d s {2}reward [\d.]+ [▁▂▃▄▅▆▇█]{16}$/);
  expect(lines.join('')).not.toContain('\x1b');
  expect((await shown(false)).split('\n')[0]).toMatch(/^= Numbers {2}\d\.\d s {2}was there$/);
});

it('redraws the line of the running stage, never wider than the terminal', async () => {
  const text = await shown(true, 40);
  const drawn = text.replaceAll('\r\x1b[2K', '\n').split('\n');
  const steps = drawn.filter((line) => /^▸ Numbers {2}\d+\/60 {2}\d\.\d s < /.test(line));
  expect(steps.length).toBeGreaterThanOrEqual(2);
  for (const line of drawn.filter((line) => line.startsWith('▸'))) expect([...line].length).toBeLessThan(40);
  expect(text.endsWith('\n')).toBe(true);
});

it('draws a curve in characters, whatever its values', () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe('▁▂▃▄▅▆▇█');
  expect(sparkline([0, 0, 7, 7], 2)).toBe('▁█');
  expect(sparkline([5, 5], 8)).toBe('▄▄');
  expect(sparkline([Number.NaN], 8)).toBe('');
});
