/** `minke export` of the built command. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectBuilt, runMinke } from './testing/run-minke.ts';

const home = mkdtempSync(join(tmpdir(), 'minke-export-'));
beforeAll(expectBuilt);
afterAll(() => rmSync(home, { recursive: true }));

it('writes a GGUF file as a folder that gives the same logits', async () => {
  const file = fileURLToPath(new URL('../../../packages/inference/fixtures/tiny.gguf', import.meta.url));
  const folder = join(home, 'folder');
  const { code, out, err } = await runMinke(['export', file, '--out', folder, '--dtype', 'f32'], {
    cwd: home,
  });
  expect([code, out, err]).toEqual([0, '', `model written to ${folder}\n`]);
  expect(readdirSync(folder).sort()).toEqual([
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  const logits = async (from: string) =>
    (await runMinke(['logits', from, '--ids', '5,9,2', '--json'], { cwd: home })).out;
  expect(await logits(folder)).toBe(await logits(file));
});

it('asks where to', async () => {
  const { code, err } = await runMinke(['export', '.'], { cwd: home });
  expect([code, err]).toEqual([2, expect.stringContaining('--out')]);
});
