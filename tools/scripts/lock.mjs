// A lock between processes on one machine: a file created exclusively, touched while it is held, removed at
// the end. A holder that died (its process is gone, or it has not touched the file for a minute) is replaced
// by exactly one of those who wait: the one that creates the take-over file named after the dead holder.

import { randomUUID } from 'node:crypto';
import { readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const pollMs = 100;
const heartbeatMs = 5_000;
const staleMs = 60_000;

/**
 * Runs `work` while holding the lock file; waits for other holders first.
 *
 * @param {string} file path of the lock file, in an existing folder
 * @param {(text: string) => void} note told once if there is a wait
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 * @template T
 */
export async function withLock(file, note, work) {
  const identity = JSON.stringify({ pid: process.pid, id: randomUUID() });
  let waiting = false;
  while (!createExclusively(file, identity)) {
    const holder = readHolder(file);
    if (holder && isDead(holder)) removeDead(file, holder);
    else {
      if (!waiting) note(`waiting for another set-up${holder?.pid ? ` (process ${holder.pid})` : ''}`);
      waiting = true;
      await sleep(pollMs);
    }
  }
  const heartbeat = setInterval(() => touchOwn(file, identity), heartbeatMs);
  heartbeat.unref();
  const release = () => readHolder(file)?.text === identity && rmSync(file, { force: true });
  process.on('exit', release);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    process.off('exit', release);
    release();
  }
}

function touchOwn(file, identity) {
  if (readHolder(file)?.text === identity) utimesSync(file, new Date(), new Date());
}

function createExclusively(file, text) {
  try {
    writeFileSync(file, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

function readHolder(file) {
  try {
    const touchedMs = statSync(file).mtimeMs;
    const text = readFileSync(file, 'utf8');
    return { text, touchedMs, ...parseIdentity(text) };
  } catch (error) {
    if (error.code === 'ENOENT') return undefined; // released meanwhile
    throw error;
  }
}

/** A file that was just created may still be empty: its holder is then unknown, not dead. */
function parseIdentity(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function isDead({ pid, touchedMs }) {
  if (Date.now() - touchedMs > staleMs) return true;
  if (!pid) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

function removeDead(file, holder) {
  const takeOver = `${file}.${holder.id ?? 'unknown'}`;
  if (!createExclusively(takeOver, '')) return;
  try {
    if (readHolder(file)?.text === holder.text) rmSync(file, { force: true });
  } finally {
    rmSync(takeOver, { force: true });
  }
}
