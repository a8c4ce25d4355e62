/**
 * One process a run folder: a lock file with the holder's process id.
 *
 * A lock whose process is gone is stale and taken over. Process ids are used again, in containers soon, so on Linux
 * the time the process started (field 22 of /proc/<pid>/stat, in clock ticks since boot) must match as well.
 * The file is linked into place with its content, so it is never seen empty.
 */
import { randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Clock ticks since boot; null where the system does not tell. */
  readonly ticks: string | null;
}

/**
 * Takes the run's folder for this process; the folder is made if missing. Returns what gives it back.
 * Throws `unsupported` while another process holds it.
 */
export function lockRun(folder: string): () => void {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'lock');
  const mine: Holder = { pid: process.pid, host: hostname(), ticks: startTicks(process.pid) };
  const text = `${JSON.stringify(mine)}\n`;
  const own = `${path}.${randomUUID()}`;
  writeFileSync(own, text);
  try {
    for (;;) {
      if (place(own, path)) return () => release(path, text);
      const seen = readText(path);
      if (seen === undefined) continue;
      const holder = parseHolder(seen);
      if (holder === undefined || !isGone(holder)) throw inUse(folder, path, holder);
      takeAway(path, seen);
    }
  } finally {
    rmSync(own, { force: true });
  }
}

function place(own: string, path: string): boolean {
  try {
    linkSync(own, path);
    return true;
  } catch (problem) {
    if ((problem as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw problem;
  }
}

/** Moves a stale lock aside; whoever moves a living one by a race puts it back. */
function takeAway(path: string, seen: string): void {
  const aside = `${path}.${randomUUID()}`;
  try {
    renameSync(path, aside);
  } catch (problem) {
    if ((problem as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw problem;
  }
  if (readText(aside) !== seen) place(aside, path);
  rmSync(aside, { force: true });
}

function release(path: string, text: string): void {
  if (readText(path) === text) rmSync(path, { force: true });
}

function inUse(folder: string, path: string, holder: Holder | undefined): MinkeError {
  const who = holder === undefined ? 'an unreadable lock' : `process ${holder.pid} on ${holder.host}`;
  return new MinkeError(
    'unsupported',
    `${folder}: expected a run folder that no other process uses, got ${who}; wait for it, use another folder, or remove ${path} if nothing runs`,
    { details: { holder } },
  );
}

function isGone({ pid, host, ticks }: Holder): boolean {
  if (host !== hostname()) return false;
  try {
    process.kill(pid, 0);
  } catch (problem) {
    return (problem as NodeJS.ErrnoException).code === 'ESRCH';
  }
  return ticks !== null && startTicks(pid) !== ticks;
}

function startTicks(pid: number): string | null {
  const text = readText(`/proc/${pid}/stat`);
  // The command, in brackets, may hold anything; what follows it is fields 3 and on.
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}

function parseHolder(text: string): Holder | undefined {
  try {
    const { pid, host, ticks } = JSON.parse(text) as Partial<Holder>;
    if (Number.isSafeInteger(pid) && typeof host === 'string')
      return { pid: pid as number, host, ticks: ticks ?? null };
  } catch {
    return undefined;
  }
  return undefined;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (problem) {
    if (['ENOENT', 'ESRCH'].includes((problem as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw problem;
  }
}
