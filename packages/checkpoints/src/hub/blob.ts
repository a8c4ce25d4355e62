/**
 * One blob into the cache: what an earlier run left is read again and goes on, the digest is taken while bytes pass,
 * and only content with the right one gets its name.
 *
 * The unfinished file is always a prefix of the content, without holes: its length is all there is to know. Its name
 * carries its holder's token, and is changed by whoever goes on with it, so that two can never write to one file.
 */
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MinkeError } from '@minke/core';
import type { CachedModel } from './cache.ts';
import { Transient } from './client.ts';
import { startDigest } from './digest.ts';
import { HubError } from './hub-error.ts';
import { type Lease, takeLease } from './lease.ts';
import type { HubFile } from './listing.ts';
import { type RangeRequest, readFrom } from './ranges.ts';

/** What to tell while a blob is fetched. */
export interface BlobProgress {
  /** Bytes of the file that are there now, also where another process brings them. */
  at(bytes: number): void;
  /** Bytes that came over the network. */
  received(bytes: number): void;
}

/** Fetches one blob, unless it is there; another process that does so is waited for. */
export async function fetchBlob(
  cache: CachedModel,
  request: RangeRequest,
  progress: BlobProgress,
): Promise<void> {
  const { file, client, id } = request;
  const blob = cache.blob(file);
  await mkdir(cache.blobs, { recursive: true });
  const tries = client.tries(`${id}, ${file.path}`);
  for (;;) {
    const lock = join(cache.locks, `${file.digest.hex}.minke.lock`);
    const lease = await takeLease(lock, () => client.checkSignal());
    try {
      if ((await stat(blob).catch(() => undefined))?.size === file.size) return progress.at(file.size);
      const partial = partialPath(blob, lease.token);
      await adopt(blob, partial);
      await fill(partial, lease, request, progress);
      await rename(partial, blob);
      await syncFolder(dirname(blob));
      return;
    } catch (problem) {
      // Somebody else took over: then let us wait for them.
      if (lease.hold()) throw named(problem, id, file);
      await tries.failed(new Transient('that another process took over'));
    } finally {
      lease.release();
    }
  }
}

/** Bytes that earlier runs left of a blob. */
export async function partialBytes(cache: CachedModel, file: HubFile): Promise<number> {
  const [largest] = await partials(cache.blob(file));
  return largest?.size ?? 0;
}

function partialPath(blob: string, token: string): string {
  return `${blob}.minke-${token}.incomplete`;
}

/** What earlier runs left of a blob, the largest first. */
async function partials(blob: string): Promise<{ path: string; size: number }[]> {
  const names = await readdir(dirname(blob)).catch(() => []);
  const found = names
    .map((name) => join(dirname(blob), name))
    .filter((path) => path.startsWith(`${blob}.minke-`) && path.endsWith('.incomplete'));
  const sizes = await Promise.all(
    found.map(async (path) => ({ path, size: (await stat(path).catch(() => undefined))?.size ?? 0 })),
  );
  return sizes.sort((a, b) => b.size - a.size);
}

/** Makes what an earlier run left ours. The lock is held: nobody works on it. */
async function adopt(blob: string, partial: string): Promise<void> {
  const [largest, ...others] = await partials(blob);
  if (largest !== undefined) await rename(largest.path, partial);
  for (const { path } of others) await rm(path, { force: true });
}

/** Brings the unfinished file to its end, twice if the first time gives other content than was announced. */
async function fill(
  partial: string,
  lease: Lease,
  request: RangeRequest,
  progress: BlobProgress,
): Promise<void> {
  const { file, client, id } = request;
  const handle = await open(partial, 'a+');
  try {
    for (let attempt = 0; ; attempt++) {
      let at = (await handle.stat()).size;
      if (at > file.size) {
        at = 0;
        await handle.truncate(0);
      }
      const digest = startDigest(file.digest, file.size);
      const buffer = Buffer.allocUnsafe(1 << 20);
      for (let read = 0; read < at; ) {
        client.checkSignal();
        const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, at - read), read);
        if (bytesRead === 0) throw new Transient('an unfinished file that was cut');
        digest.update(buffer.subarray(0, bytesRead));
        read += bytesRead;
      }
      progress.at(at);
      for await (const chunk of readFrom(request, at)) {
        if (!lease.hold()) throw new Transient('the loss of the lock');
        await writeAll(handle, chunk);
        digest.update(chunk);
        at += chunk.length;
        progress.received(chunk.length);
        progress.at(at);
      }
      const got = digest.digest('hex');
      if (got === file.digest.hex) break;
      await handle.truncate(0);
      progress.at(0);
      if (attempt > 0) throw wrongBytes(id, file, got);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Appends all of a chunk. */
async function writeAll(handle: Awaited<ReturnType<typeof open>>, chunk: Uint8Array): Promise<void> {
  for (let written = 0; written < chunk.length; )
    written += (await handle.write(chunk, written, chunk.length - written)).bytesWritten;
}

function wrongBytes(id: string, { path, digest }: HubFile, got: string): HubError {
  return new HubError(
    'wrong-bytes',
    `${id}, ${path}: expected content with ${digest.algorithm} ${digest.hex}, got ${got}, twice; the hub or something before it (a proxy, a mirror in HF_ENDPOINT) serves another file`,
  );
}

/** Errors of the file system, by what they ask of the caller; EFBIG: too large for the file system. What came is kept. */
function named(problem: unknown, id: string, { path }: HubFile): unknown {
  const { code, syscall, message } = problem as NodeJS.ErrnoException;
  if (MinkeError.isInstance(problem) || code === undefined || syscall === undefined) return problem;
  const full = ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code);
  return new HubError(
    full ? 'no-space' : 'disk',
    `${id}, ${path}: ${message}; ${full ? 'make room' : 'see to the disk of the cache, or set HF_HOME to another,'} and run the same again: what came is kept`,
    { cause: problem },
  );
}

/** Makes the new name survive a loss of power; Windows cannot open folders and needs no sync. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}
