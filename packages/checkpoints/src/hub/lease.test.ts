/** Locks that survive the death of their holder. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { takeLease } from './lease.ts';

let folder: string;
let lock: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'minke-lease-'));
  lock = join(folder, 'deep', 'a.lock');
});
afterEach(() => rm(folder, { recursive: true }));

/** A lock as a process with this number would have left it. */
function leftBy(pid: number): string {
  const [, , ...place] = readFileSync(lock, 'utf8').split(' ');
  return `deadbeef ${pid} ${place.join(' ')}`;
}

it('is held by one at a time, and leaves nothing behind', async () => {
  let inside = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 5 }, async () => {
      const lease = await takeLease(lock);
      most = Math.max(most, ++inside);
      expect(lease.hold()).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, 5));
      inside--;
      lease.release();
      lease.release();
      expect(lease.hold()).toBe(false);
    }),
  );
  expect(most).toBe(1);
  expect(await readdir(join(folder, 'deep'))).toEqual([]);
});

it('passes at once from a process that died, also one with the number of this', async () => {
  const gone = spawnSync(process.execPath, ['-e', '']).pid;
  for (const pid of [gone, process.pid]) {
    const first = await takeLease(lock);
    writeFileSync(lock, leftBy(pid));
    const second = await takeLease(lock);
    expect(second.token).not.toBe(first.token);
    first.release(); // No longer its own to take away.
    expect(second.hold()).toBe(true);
    second.release();
  }
});

it('passes from a holder that nobody can ask only after it stays silent', async () => {
  for (const text of ['deadbeef 1 another-machine pid:[1]', '']) {
    const first = await takeLease(lock);
    first.release();
    writeFileSync(lock, text);
    const began = performance.now();
    const lease = await takeLease(lock, () => {}, 300);
    expect(performance.now() - began).toBeGreaterThan(290);
    lease.release();
  }
});

it('is not waited for longer than the caller wants', async () => {
  const held = await takeLease(lock);
  let asked = 0;
  const waiting = takeLease(lock, () => {
    if (++asked > 2) throw new Error('enough');
  });
  await expect(waiting).rejects.toThrow('enough');
  expect(held.hold()).toBe(true);
  held.release();
});
