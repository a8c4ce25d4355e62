import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Random } from '@minke/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { withoutClock } from './step-clock.ts';

const script = fileURLToPath(new URL('../testing/grpo-run.mjs', import.meta.url));
const built = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

let root: string;
beforeAll(() => {
  if (!existsSync(built))
    throw new Error(`expected the built package at ${built}; run npm test, which builds it`);
  root = mkdtempSync(join(tmpdir(), 'minke-grpo-kill-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const runToEnd = (name: string, what: string): void => {
  const command = [script, join(root, name), what];
  const { status, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
};

/** Starts the run and kills it `milliseconds` after its first file appears. True when it was still running. */
async function killAfter(name: string, what: string, milliseconds: number): Promise<boolean> {
  const child = spawn(process.execPath, [script, join(root, name), what], { stdio: 'ignore' });
  let ended = false;
  const exit = new Promise<void>((resolve) => {
    child.once('exit', () => {
      ended = true;
      resolve();
    });
  });
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  while (!ended && !existsSync(join(root, name, 'metrics.jsonl'))) await pause(1);
  await pause(milliseconds);
  const alive = !ended;
  child.kill('SIGKILL');
  await exit;
  return alive;
}

/** Every file of a run by its path, as text; lines of metrics without their wall-clock figures. */
function contents(name: string): Record<string, string> {
  const files = readdirSync(join(root, name), { recursive: true, withFileTypes: true });
  return Object.fromEntries(
    files.flatMap((file) => {
      if (!file.isFile()) return [];
      const path = join(file.parentPath, file.name);
      const relative = path.slice(join(root, name).length);
      return [[relative, normal(file.name, readFileSync(path))]];
    }),
  );
}

function normal(file: string, bytes: Buffer): string {
  if (file === 'metrics.jsonl')
    return bytes
      .toString('utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.stringify(withoutClock(JSON.parse(line) as Record<string, unknown>)))
      .join('\n');
  // How long the metrics file was depends on the digits of its wall-clock figures.
  if (file === 'trainer.json') return bytes.toString('utf8').replace(/"metricsBytes": \d+/, '');
  return bytes.toString('base64');
}

it.each([
  'model',
  'lora',
  'ppo',
  'environment',
  'ahead',
  'lora+ahead',
  'remax+environment',
  'ppo+environment+ahead',
])('a run of %s killed at random moments ends with the bytes of one that was not', async (what) => {
  const [wholeRun, killedRun] = [`${what}-whole`, `${what}-killed`];
  const before = performance.now();
  runToEnd(wholeRun, what);
  const whole = performance.now() - before;
  const random = new Random(Math.floor(Math.random() * 1e9));
  let kills = 0;
  for (let i = 0; i < 5; i++)
    if (await killAfter(killedRun, what, Math.floor((whole / 3) * random.uniform()))) kills++;
  expect(kills, `seed ${random.seed}`).toBeGreaterThanOrEqual(1);
  runToEnd(killedRun, what);
  const [expected, got] = [contents(wholeRun), contents(killedRun)];
  expect(Object.keys(got).sort()).toEqual(Object.keys(expected).sort());
  for (const [path, text] of Object.entries(expected))
    expect(got[path] === text, `${path}, seed ${random.seed}`).toBe(true);
  const saved = ['reference/reference', ...(what.startsWith('ppo') ? ['critic/state'] : [])];
  for (const file of saved)
    expect(Object.keys(got)).toContain(`/checkpoints/step-0000024/${file}.safetensors`);
  if (!what.endsWith('ahead')) return;
  const lines = readFileSync(join(root, killedRun, 'journal.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ rollout }) => rollout)).toEqual(Array.from({ length: 12 }, (_, i) => i));
  expect(lines.map(({ lag }) => lag)).toEqual([0, 2, ...new Array(10).fill(3)]);
  // Of every prompt that was drawn all samples, each once; 16 of them learnt from.
  const groupSize = what.startsWith('ppo') ? 1 : 4;
  for (const { rollout, used, left_out: left } of lines) {
    const ids = Array.from(
      { length: used.length + left.length },
      (_, i) => `${rollout}.${Math.floor(i / groupSize)}.${i % groupSize}`,
    );
    expect([...used, ...left].sort()).toEqual(ids.sort());
    expect(used).toHaveLength(16);
  }
  expect(readdirSync(join(root, killedRun, 'rollouts'))).toEqual([]);
});

it('a full disk leaves no half-written checkpoint and a clear error, and the run goes on later', () => {
  // A limit on the size of files is the disk that anyone can fill: 64 blocks of 512 bytes take the logs, no weights.
  const limited = spawnSync(
    'sh',
    ['-c', 'ulimit -f 64 && exec "$@"', 'sh', process.execPath, script, join(root, 'full'), 'model'],
    {
      encoding: 'utf8',
    },
  );
  expect(limited.status).toBe(1);
  expect(limited.stderr).toMatch(
    /trainGrpo: step 4: .*step-0000004: expected to write it, got EFBIG.*; make room and start the run again.*no checkpoint yet/,
  );
  expect(readdirSync(join(root, 'full/checkpoints'))).toEqual([]);
  runToEnd('full', 'model');
  expect(contents('full')).toEqual(contents('model-whole'));
});
