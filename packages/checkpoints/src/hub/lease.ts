/**
 * Who fetches a blob: a lock file that its holder keeps fresh, so that the others wait, and take over from one that
 * died. Node has no file locks of the operating system, so the Python client's do not see this one, nor the other way
 * round; both write under names of their own and rename, and two that fetch the same then only fetch it twice.
 *
 * A holder that was stopped for long must ask `hold()` before it writes: somebody else may have taken over.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync, rmSync } from 'node:fs';
import { link, mkdir, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const beatMs = 2_000;
/** Longer than this without a beat, a holder asks whether it still holds. */
const trustMs = 20_000;
/** A lock that nobody touches for so long, as the waiter's own clock has it, belongs to nobody. */
const staleMs = 60_000;

/** Leases of this process, to tell them from those of an earlier one with the same number. */
const ours = new Set<string>();

/** A held lock. */
export interface Lease {
  /** Eight characters that no other lease has. */
  readonly token: string;
  /** Whether the lock is still ours. Cheap unless this process was stopped for long. */
  hold(): boolean;
  /** Gives it back; a second call does nothing. */
  release(): void;
}

/**
 * Waits for the lock at `path` and takes it.
 *
 * @param beforeWait called before each wait; throws to give up
 * @param stale for tests: milliseconds after which an untouched lock is nobody's
 */
export async function takeLease(
  path: string,
  beforeWait: () => void = () => {},
  stale: number = staleMs,
): Promise<Lease> {
  await mkdir(dirname(path), { recursive: true });
  let seen = '';
  let since = 0;
  for (;;) {
    beforeWait();
    const lease = await tryLease(path);
    if (lease !== undefined) return lease;
    const [text, touched] = await Promise.all([
      readFile(path, 'utf8').catch(() => ''),
      stat(path).then(
        ({ mtimeMs }) => mtimeMs,
        () => undefined,
      ),
    ]);
    if (touched === undefined) continue;
    const state = `${touched} ${text}`;
    if (state !== seen) {
      seen = state;
      since = performance.now();
    }
    if (isDead(text) || performance.now() - since > stale) await discard(path, text);
    else await sleep(100);
  }
}

async function tryLease(path: string): Promise<Lease | undefined> {
  const token = randomUUID().slice(0, 8);
  const text = `${token} ${process.pid} ${place}`;
  ours.add(token);
  try {
    const file = await open(path, 'wx');
    await file.writeFile(text);
    await file.close();
  } catch (problem) {
    ours.delete(token);
    if ((problem as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw problem;
  }
  let last = performance.now();
  let lost = false;
  const isOurs = () => {
    try {
      return readFileSync(path, 'utf8') === text;
    } catch {
      return false;
    }
  };
  const beat = () => {
    if (lost || !isOurs()) lost = true;
    else {
      last = performance.now();
      utimes(path, new Date(), new Date()).catch(() => {});
    }
  };
  const timer = setInterval(beat, beatMs);
  timer.unref();
  return {
    token,
    hold() {
      if (performance.now() - last > trustMs) beat();
      return !lost;
    },
    release() {
      clearInterval(timer);
      if (ours.delete(token) && isOurs()) rmSync(path, { force: true });
      lost = true;
    },
  };
}

/** Takes a lock away that was judged dead; puts it back if it is another by now. */
async function discard(path: string, judged: string): Promise<void> {
  const aside = `${path}.${randomUUID().slice(0, 8)}`;
  try {
    await rename(path, aside);
  } catch {
    return; // Somebody else was faster.
  }
  if ((await readFile(aside, 'utf8').catch(() => judged)) !== judged) await link(aside, path).catch(() => {});
  await rm(aside, { force: true });
}

/** Whether the holder was a process here that has ended. */
function isDead(text: string): boolean {
  const [token = '', pid, ...where] = text.split(' ');
  if (where.join(' ') !== place) return false;
  if (Number(pid) === process.pid) return !ours.has(token);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (problem) {
    return (problem as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Where process numbers mean the same: this machine, and this container of it. */
const place = `${hostname()} ${namespace()}`;

function namespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}
