/**
 * The cache of hub files, laid out as huggingface_hub does, so that each reads what the other fetched:
 *
 *     models--owner--name/blobs/<sha256, or git's sha1>        the content
 *                        /snapshots/<commit>/<path>            a link to it
 *                        /refs/<branch or tag>                 the commit it stood for when it was fetched
 *                        /trees/<commit>.json                  what a whole snapshot holds
 *
 * Everything appears under its name at once (temporary name, rename). Node only.
 */
import { randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import {
  copyFile,
  lstat,
  mkdir,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { HubError } from './hub-error.ts';
import { cacheName, isCommit } from './hub-id.ts';
import type { HubFile, HubListing } from './listing.ts';

/** The places of one model in a cache. */
export class CachedModel {
  readonly folder: string;
  /** Locks of its blobs, beside those of the Python client. */
  readonly locks: string;

  constructor(
    cache: string,
    readonly id: string,
  ) {
    this.folder = join(resolve(cache), cacheName(id));
    this.locks = join(resolve(cache), '.locks', cacheName(id));
  }

  get blobs(): string {
    return join(this.folder, 'blobs');
  }

  blob({ digest }: HubFile): string {
    return join(this.blobs, digest.hex);
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  pointer(commit: string, { path }: HubFile): string {
    return join(this.snapshot(commit), ...path.split('/'));
  }

  /** Whether the content is there in its size, as a blob or, where links were not possible, in its place. */
  async has(commit: string, file: HubFile): Promise<boolean> {
    for (const path of [this.blob(file), this.pointer(commit, file)])
      if ((await stat(path).catch(() => undefined))?.size === file.size) return true;
    return false;
  }

  /** Remembers which commit a branch or tag stands for. */
  async writeRef({ revision, commit }: HubListing): Promise<void> {
    if (isCommit(revision)) return;
    await replaceText(await this.#inside('refs', revision), commit);
  }

  /** Remembers what a whole snapshot holds, for the Python client to tell a whole one from a partial one. */
  async writeTree({ commit, files }: HubListing): Promise<void> {
    // Only a hub that names git's blobs gives all that the format wants.
    if (!files.every(({ blobId }) => blobId !== undefined)) return;
    const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
    const entries = sorted.map(({ path, size, digest, blobId }) => [
      path,
      {
        size,
        blob_id: blobId,
        ...(digest.algorithm === 'sha256' && { lfs_sha256: digest.hex, lfs_size: size }),
      },
    ]);
    const text = JSON.stringify({ format_version: 1, files: Object.fromEntries(entries) }, null, 1);
    const path = await this.#inside('trees', `${commit}.json`);
    // A commit never changes, and the Python client's own says more.
    if (statSync(path, { throwIfNoEntry: false }) === undefined) await replaceText(path, text);
  }

  /** Puts a blob into a snapshot. */
  async link(commit: string, file: HubFile): Promise<void> {
    const blob = this.blob(file);
    const pointer = await this.#inside('snapshots', `${commit}/${file.path}`);
    const target = relative(dirname(pointer), blob);
    const present = await lstat(pointer).catch(() => undefined);
    if (present?.isSymbolicLink() && (await readlink(pointer)) === target) return;
    // Without links the file lies in the snapshot itself, put there by the Python client.
    if (present?.isFile() && present.size === file.size) return;
    const temporary = `${pointer}.${randomUUID().slice(0, 8)}.tmp`;
    try {
      // Windows asks for a privilege, some file systems have no links.
      await symlink(target, temporary).catch(() => copyFile(blob, temporary));
      await rename(temporary, pointer);
    } catch (problem) {
      await rm(temporary, { force: true });
      throw problem;
    }
  }

  /** A path below one of the model's folders, which is made; refused where a link would lead out of it. */
  async #inside(kind: string, path: string): Promise<string> {
    const full = join(this.folder, kind, ...path.split('/'));
    const parent = dirname(full);
    await mkdir(parent, { recursive: true });
    const expected = join(await realpath(this.folder), relative(this.folder, parent));
    if ((await realpath(parent)) !== expected)
      throw new HubError(
        'refused',
        `${this.id}: expected a folder at ${parent}, got a link to ${await realpath(parent)}; remove it`,
      );
    return full;
  }
}

/** Readers see the old text or the new. */
async function replaceText(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  try {
    await writeFile(temporary, text);
    await rename(temporary, path);
  } catch (problem) {
    await rm(temporary, { force: true });
    throw problem;
  }
}
