/**
 * A model from a hub into the cache: all its files, or those that patterns name, several at once.
 *
 * Interrupted, it keeps what came, and the same call goes on. Room on the disk is looked at before the first byte.
 * A branch's name follows to the new commit only when all files of it are there.
 */
import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { check } from '@minke/core';
import { fetchBlob, partialBytes } from './blob.ts';
import { CachedModel } from './cache.ts';
import { matchesAny, usefulFiles } from './choose-files.ts';
import { HubClient, type RequestOptions } from './client.ts';
import { HubError } from './hub-error.ts';
import { parseHubId } from './hub-id.ts';
import { fetchListing, fileUrl, type HubFile, type HubListing } from './listing.ts';
import { type RangeRequest, Slots } from './ranges.ts';
import { hubCache } from './settings.ts';

/** How far a pull is. Bytes count each blob once. */
export interface PullProgress {
  /** Bytes of the chosen files. */
  readonly total: number;
  /** Bytes of them that are there, in whatever way they came. */
  readonly done: number;
  /** Bytes that this pull received. */
  readonly received: number;
  readonly files: number;
  readonly filesDone: number;
}

/** What to pull and how. */
export interface PullOptions extends RequestOptions {
  /**
   * Patterns as in Python's fnmatch. Default: all files, but where there are safetensors no weights in other formats.
   */
  readonly include?: readonly string[];
  readonly onProgress?: (progress: PullProgress) => void;
  /** Files at once. Default 4. */
  readonly files?: number;
  /** Segments of one file at once. Default 4. */
  readonly ranges?: number;
  /** Connections in all. Default 8. */
  readonly connections?: number;
  /** Bytes of a segment; all but the first of a file wait in memory. Default 8 MiB. */
  readonly segmentBytes?: number;
}

/** A model that is in the cache. */
export interface PulledModel {
  readonly id: string;
  readonly revision: string;
  readonly commit: string;
  /** The snapshot: a model folder. */
  readonly folder: string;
  /** Paths in it that were asked for. */
  readonly files: readonly string[];
  /** Bytes of those. */
  readonly bytes: number;
  /** Bytes that came over the network just now. */
  readonly received: number;
}

/** Kept free beside the files: their folder's own needs, and a running system's. */
const spareBytes = 64 << 20;

/**
 * Lists the files of a model on a hub.
 *
 * @param from `owner/name` or `owner/name@revision`
 * @throws HubError `no-such-model`, `no-such-revision`, `gated`, `unauthorized`, `unreachable`, `bad-listing`
 * @example
 * const { commit, files } = await listModel('deepseek-ai/DeepSeek-V2-Lite');
 */
export async function listModel(from: string, options: RequestOptions = {}): Promise<HubListing> {
  return fetchListing(new HubClient(options), parseHubId(from));
}

/**
 * Fetches a model into the cache and gives its folder there.
 *
 * @param from `owner/name` or `owner/name@revision`
 * @throws HubError with the kind of failure as `problem`; MinkeError `aborted`, after which the same call goes on
 * @example
 * const { folder } = await pullModel('deepseek-ai/DeepSeek-V2-Lite', { onProgress: ({ done, total }) => show(done / total) });
 */
export async function pullModel(from: string, options: PullOptions = {}): Promise<PulledModel> {
  const { include, files: parallel = 4, ranges = 4, connections = 8, segmentBytes = 8 << 20 } = options;
  for (const [name, value] of Object.entries({ files: parallel, ranges, connections, segmentBytes }))
    check(
      Number.isSafeInteger(value) && value >= 1,
      () => `pullModel: expected ${name} of 1 or more, got ${value}`,
    );
  const stop = new AbortController();
  const forward = () => stop.abort();
  if (options.signal?.aborted) forward();
  options.signal?.addEventListener('abort', forward);
  try {
    const client = new HubClient({ ...options, signal: stop.signal });
    const listing = await fetchListing(client, parseHubId(from));
    const chosen = choose(listing, include);
    const cache = new CachedModel(hubCache(options), listing.id);
    const blobs = [...new Map(chosen.map((file) => [file.digest.hex, file])).values()];
    const tally = new Tally(blobs, chosen.length, options.onProgress);
    const missing = await lacking(cache, listing, blobs, tally);
    await cache.writeTree(listing);
    const slots = new Slots(connections);
    await inParallel(missing, parallel, stop, async (file) => {
      const url = fileUrl(client, { id: listing.id, revision: listing.commit }, file.path);
      const request: RangeRequest = { client, url, file, id: listing.id, slots, ranges, segmentBytes };
      await fetchBlob(cache, request, tally.of(file));
    });
    for (const file of chosen) await cache.link(listing.commit, file);
    await cache.writeRef(listing);
    const { id, revision, commit } = listing;
    const bytes = chosen.reduce((sum, { size }) => sum + size, 0);
    const paths = chosen.map(({ path }) => path);
    return {
      id,
      revision,
      commit,
      folder: cache.snapshot(commit),
      files: paths,
      bytes,
      received: tally.received,
    };
  } finally {
    options.signal?.removeEventListener('abort', forward);
    stop.abort(); // What still runs ahead has nobody to run for.
  }
}

function choose({ id, files }: HubListing, include: readonly string[] | undefined): readonly HubFile[] {
  const chosen =
    include === undefined ? usefulFiles(files) : files.filter(({ path }) => matchesAny(path, include));
  if (chosen.length > 0) return chosen;
  const some = files.slice(0, 8).map(({ path }) => path);
  const known =
    files.length === 0
      ? 'it has no files'
      : `it has ${some.join(', ')}${files.length > 8 ? ` and ${files.length - 8} more` : ''}`;
  throw new HubError(
    'no-such-file',
    `${id}: expected files that match ${include?.join(' or ') ?? 'anything'}, but ${known}`,
  );
}

/** The blobs to fetch. Throws `no-space` if the disk has no room for them. */
async function lacking(
  cache: CachedModel,
  { id, commit }: HubListing,
  blobs: readonly HubFile[],
  tally: Tally,
): Promise<HubFile[]> {
  const missing: HubFile[] = [];
  let needed = 0;
  for (const file of blobs) {
    if (await cache.has(commit, file)) {
      tally.of(file).at(file.size);
      continue;
    }
    missing.push(file);
    needed += Math.max(0, file.size - (await partialBytes(cache, file)));
  }
  const free = await freeBytes(cache.folder);
  if (needed > 0 && needed + spareBytes > free)
    throw new HubError(
      'no-space',
      `${id}: expected ${gigabytes(needed + spareBytes)} free for ${cache.folder}, got ${gigabytes(free)}; make room, choose fewer files, or set HF_HOME to another disk`,
      { details: { needed, free } },
    );
  return missing;
}

/** Free bytes where a folder is or will be. */
async function freeBytes(folder: string): Promise<number> {
  for (let at = resolve(folder); ; at = dirname(at))
    try {
      const { bavail, bsize } = await statfs(at);
      return bavail * bsize;
    } catch (problem) {
      if (at === dirname(at)) throw problem;
    }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(bytes < 1e10 ? 2 : 0)} GB`;
}

/** Runs the work for all items, so many at a time. The first failure stops the others and is thrown. */
async function inParallel<Item>(
  items: readonly Item[],
  count: number,
  stop: AbortController,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  let failure: { readonly problem: unknown } | undefined;
  const worker = async () => {
    for (const item of queue)
      try {
        if (failure !== undefined) return;
        await work(item);
      } catch (problem) {
        failure ??= { problem };
        stop.abort();
        return;
      }
  };
  await Promise.all(Array.from({ length: Math.min(count, items.length) }, worker));
  if (failure !== undefined) throw (failure as { readonly problem: unknown }).problem;
}

/** How much of all blobs is there. */
class Tally {
  received = 0;
  readonly #at = new Map<string, number>();
  readonly #total: number;
  #done = 0;
  #filesDone = 0;

  constructor(
    blobs: readonly HubFile[],
    readonly files: number,
    readonly onProgress: ((progress: PullProgress) => void) | undefined,
  ) {
    this.#total = blobs.reduce((sum, { size }) => sum + size, 0);
    this.#filesDone = files - blobs.length;
  }

  of({ digest, size }: HubFile): { at(bytes: number): void; received(bytes: number): void } {
    return {
      at: (bytes) => {
        const before = this.#at.get(digest.hex);
        this.#at.set(digest.hex, bytes);
        this.#done += bytes - (before ?? 0);
        if (bytes === size && before !== size) this.#filesDone++;
        if (before === size && bytes !== size) this.#filesDone--;
        this.#tell();
      },
      received: (bytes) => {
        this.received += bytes;
      },
    };
  }

  #tell(): void {
    const { received, files } = this;
    this.onProgress?.({
      total: this.#total,
      done: this.#done,
      received,
      files,
      filesDone: this.#filesDone,
    });
  }
}
