import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Random } from '@minke/core';
import { afterAll, beforeAll, expect, it } from 'vitest';

const cli = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const makeTokenizer = fileURLToPath(
  new URL('../../../packages/tiny-reasoner/recipe/make-tokenizer.mjs', import.meta.url),
);
const recipeConfig = new URL('../../../packages/tiny-reasoner/recipe/config.json', import.meta.url);

let root: string;
beforeAll(() => {
  if (!existsSync(cli))
    throw new Error(`expected the built command line at ${cli}; run npm test, which builds it`);
  root = mkdtempSync(join(tmpdir(), 'minke-kill-'));
  const { status, stderr } = spawnSync(process.execPath, [makeTokenizer, join(root, 'tokenizer')], {
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  const config = JSON.parse(readFileSync(recipeConfig, 'utf8')) as Record<string, unknown>;
  const small = { hidden_size: 32, intermediate_size: 32, moe_intermediate_size: 8, num_hidden_layers: 2 };
  const heads = { num_attention_heads: 2, num_key_value_heads: 2, q_lora_rank: 16, kv_lora_rank: 16 };
  writeFileSync(join(root, 'config.json'), JSON.stringify({ ...config, ...small, ...heads }));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const steps = 30;
const args = (out: string): string[] => [
  cli,
  ...['train', 'sft', '--out', join(root, out), '--model-config', join(root, 'config.json')],
  ...['--tokenizer', join(root, 'tokenizer'), '--steps', String(steps), '--tokens-per-step', '400'],
  ...['--checkpoint-every', '3', '--seed', '4', '--threads', '1'],
];

/** Lets a run go on until its metrics reach `bytes`, then kills it. True when it had ended by itself. */
async function killAt(out: string, bytes: number): Promise<boolean> {
  const metrics = join(root, out, 'metrics.jsonl');
  const child = spawn(process.execPath, args(out), { stdio: 'ignore' });
  let ended = false;
  const exit = new Promise<void>((resolve) => {
    child.once('exit', () => {
      ended = true;
      resolve();
    });
  });
  while (!ended && !(existsSync(metrics) && readFileSync(metrics).length >= bytes)) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const alone = ended;
  child.kill('SIGKILL');
  await exit;
  return alone;
}

it('a training run killed at random moments ends with the bytes of one that was not', async () => {
  const whole = spawnSync(process.execPath, args('whole'), { encoding: 'utf8' });
  expect(whole.status, whole.stderr).toBe(0);
  expect(whole.stderr).toMatch(/^computes on \w+ \(\w+\), \d+ threads?: /m);
  const expected = readFileSync(join(root, 'whole/metrics.jsonl'));

  const random = new Random(20);
  let kills = 0;
  for (let i = 0; i < 4; i++) {
    const at = Math.floor(expected.length * ((i + random.uniform()) / 4));
    if (!(await killAt('killed', at))) kills++;
  }
  expect(kills).toBeGreaterThanOrEqual(3);
  const last = spawnSync(process.execPath, args('killed'), { encoding: 'utf8' });
  expect(last.status, last.stderr).toBe(0);

  const same = (name: string): void => {
    const [a, b] = ['whole', 'killed'].map((run) => readFileSync(join(root, run, name)));
    expect((a as Buffer).equals(b as Buffer), name).toBe(true);
  };
  same('metrics.jsonl');
  same('model/model.safetensors');
  same(`checkpoints/step-${String(steps).padStart(7, '0')}/state.safetensors`);
  same(`checkpoints/step-${String(steps).padStart(7, '0')}/trainer.json`);
}, 120_000);
