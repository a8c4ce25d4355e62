import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Random } from '@minke/core';
import { afterAll, beforeAll, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../testing/run-counting.mjs', import.meta.url));
const built = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

let root: string;
beforeAll(() => {
  if (!existsSync(built)) throw new Error(`expected ${built}; run npm test, which builds it`);
  root = mkdtempSync(join(tmpdir(), 'minke-kill-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function start(name: string): { child: ChildProcess; ended: Promise<number | null> } {
  const child = spawn(process.execPath, [program, join(root, name), '1'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return { child, ended: new Promise((resolve) => child.once('exit', resolve)) };
}

/** Waits until the run has said `lines` lines. */
function heard({ child }: { child: ChildProcess }, lines: number): Promise<void> {
  return new Promise((resolve) => {
    let count = 0;
    child.once('exit', () => resolve());
    child.stdout?.on('data', (data: Buffer) => {
      count += data.toString().split('\n').length - 1;
      if (count >= lines) resolve();
    });
  });
}

function everyFile(name: string): Record<string, string> {
  const stages = join(root, name, 'stages');
  const files = readdirSync(stages, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    files
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => !/stage\.json$|checkpoints/.test(path))
      .map((path): [string, string] => [relative(stages, path), readFileSync(path, 'utf8')])
      .map(([path, text]) => [path, withoutClock(path, text)]),
  );
}

/** What must be the same in two runs: hashes of outputs, and metrics but for the time they took. */
function withoutClock(path: string, text: string): string {
  if (path.endsWith('done.json')) return JSON.parse(text).hash;
  if (!path.endsWith('metrics.jsonl')) return text;
  const timeless = (name: string, value: unknown) => (/time|throughput/.test(name) ? undefined : value);
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.stringify(JSON.parse(line), timeless))
    .join('\n');
}

it('gives the same bytes after kills at any moment', async () => {
  expect(spawnSync(process.execPath, [program, join(root, 'whole'), '0']).status).toBe(0);
  const random = new Random(11);
  let kills = 0;
  for (let left = 6; left > 0; left--) {
    const run = start('killed');
    await heard(run, random.integer(1, 40));
    run.child.kill('SIGKILL');
    if ((await run.ended) === null) kills++;
  }
  expect(kills).toBeGreaterThanOrEqual(4);
  expect(spawnSync(process.execPath, [program, join(root, 'killed'), '0']).status).toBe(0);
  expect(everyFile('killed')).toEqual(everyFile('whole'));
}, 60_000);

it('saves a checkpoint at an interrupt and ends with 130', async () => {
  const run = start('interrupted');
  await heard(run, 20);
  run.child.kill('SIGINT');
  expect(await run.ended).toBe(130);
  const again = spawnSync(process.execPath, [program, join(root, 'interrupted'), '0'], { encoding: 'utf8' });
  expect(again.status).toBe(0);
  expect(again.stdout).not.toContain('"text":"from step 0"');
  expect(everyFile('interrupted')).toEqual(everyFile('whole'));
}, 60_000);
