// The set-up's lock, with real processes.

import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { withLock } from './lock.mjs';

const lockModule = new URL('./lock.mjs', import.meta.url).href;
const silent = () => {};

let folder;
let file;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'minke-lock-'));
  file = join(folder, 'lock');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A process that takes the lock and, while it holds it, runs `body` (which sees `log` and `sleep`). */
function holder(body) {
  const code = `import { appendFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { withLock } from ${JSON.stringify(lockModule)};
    const log = (text) => appendFileSync(${JSON.stringify(join(folder, 'log'))}, text);
    await withLock(${JSON.stringify(file)}, () => {}, async () => { ${body} });`;
  return spawn(process.execPath, ['--input-type=module', '--eval', code], { stdio: 'inherit' });
}

const ended = (child) => new Promise((done) => child.once('close', done));

it('lets one process in at a time, and leaves no file behind', async () => {
  const children = Array.from({ length: 4 }, () => holder(`log('('); await sleep(50); log(')');`));
  await Promise.all(children.map(ended));
  expect(readFileSync(join(folder, 'log'), 'utf8')).toBe('()()()()');
  expect(readdirSync(folder)).toEqual(['log']);
});

it('is taken over by exactly one when its holder was killed', async () => {
  const killed = holder(`log('killed '); await sleep(60_000);`);
  // The file is there a moment before its text is.
  while (!existsSync(join(folder, 'log')) || readFileSync(join(folder, 'log'), 'utf8') === '')
    await sleep(20);
  killed.kill('SIGKILL');
  await ended(killed);
  expect(existsSync(file)).toBe(true);
  const children = Array.from({ length: 3 }, () => holder(`log('('); await sleep(50); log(')');`));
  await Promise.all(children.map(ended));
  expect(readFileSync(join(folder, 'log'), 'utf8')).toBe('killed ()()()');
  expect(readdirSync(folder)).toEqual(['log']);
});

it('is released when its holder exits in the middle of the work', async () => {
  await ended(holder('process.exit(3)'));
  expect(readdirSync(folder)).toEqual([]);
});

it('is released when the work fails, and passes the error on', async () => {
  const work = () => Promise.reject(new Error('no disk'));
  await expect(withLock(file, silent, work)).rejects.toThrow('no disk');
  expect(readdirSync(folder)).toEqual([]);
});

it('replaces a holder that has not touched the file for a minute, though its number is in use again', async () => {
  writeFileSync(file, JSON.stringify({ pid: process.pid, id: 'before-reboot' }));
  const twoMinutesAgo = new Date(Date.now() - 120_000);
  utimesSync(file, twoMinutesAgo, twoMinutesAgo);
  expect(await withLock(file, silent, async () => 'done')).toBe('done');
});

it('says once whom it waits for', async () => {
  const { pid } = spawnSync(process.execPath, ['--version']); // a process that is gone
  writeFileSync(file, JSON.stringify({ pid: process.pid, id: 'alive' }));
  const notes = [];
  setTimeout(() => writeFileSync(file, JSON.stringify({ pid, id: 'gone' })), 400);
  await withLock(
    file,
    (text) => notes.push(text),
    async () => {},
  );
  expect(notes).toEqual([`waiting for another set-up (process ${process.pid})`]);
});
