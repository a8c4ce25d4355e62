/**
 * Writing safetensors files and sharded checkpoint folders. Node only.
 *
 * A file appears under its name only when all of it is on the disk (temporary file, fsync, rename, fsync of the
 * folder), so that a kill at any moment leaves the old file or the new one. A folder's shards are written
 * one by one, its index last; to replace a checkpoint as a whole, write a new folder.
 */
import { check } from '@minke/core';
import {
  bytesOf,
  checkedByteLength,
  entriesOf,
  layOut,
  type NamedTensors,
  type TensorSpec,
  type WriteOptions,
} from './encode.ts';
import { indexFile, type ShardIndex, singleFile } from './shard-index.ts';

/** Writes `chunks` to `path` so that a kill at any moment leaves the old file or the whole new one. */
async function writeAtomically(
  path: string,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
  const { open, rename, rm } = await import('node:fs/promises');
  const { basename, dirname, join } = await import('node:path');
  const temporary = join(dirname(path), `.${basename(path)}.${globalThis.crypto.randomUUID()}.tmp`);
  const file = await open(temporary, 'wx');
  try {
    try {
      for await (const chunk of chunks) {
        let written = 0;
        while (written < chunk.length) {
          const most = Math.min(chunk.length - written, 1 << 30);
          written += (await file.write(chunk, written, most)).bytesWritten;
        }
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Makes the names in a folder durable, renames too; Windows cannot open folders and needs no sync. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const { open } = await import('node:fs/promises');
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * Writes one safetensors file, atomically, a tensor at a time.
 *
 * @throws MinkeError 'invalid-argument' if data and shape disagree or a name is not allowed; the file system's
 * own error if it cannot be written. The old file, if any, then stays.
 * @example
 * await writeSafetensors('model.safetensors', {
 *   'lm_head.weight': { dtype: 'F32', shape: [2, 3], data: new Float32Array(6) },
 * }, { metadata: { format: 'pt' } });
 */
export async function writeSafetensors(
  path: string,
  tensors: NamedTensors,
  options: WriteOptions = {},
): Promise<void> {
  const layout = layOut('writeSafetensors', tensors, options);
  async function* chunks() {
    yield layout.head;
    for (const [name, tensor] of layout.tensors) yield bytesOf('writeSafetensors', name, tensor);
  }
  await writeAtomically(path, chunks());
}

export interface WriteCheckpointOptions extends WriteOptions {
  /** Tensor bytes a shard may hold; a larger tensor gets a shard of its own. Default 5e9. */
  readonly maxShardBytes?: number;
}

/**
 * Writes a checkpoint into an existing folder: `model.safetensors`, or, beyond `maxShardBytes`, shards in the
 * order given and `model.safetensors.index.json`. Weight files of an earlier checkpoint that the new one does
 * not use are removed afterwards. Metadata is `{ format: 'pt' }`, which transformers asks for, unless given.
 *
 * @returns the names of the weight files.
 * @throws as {@link writeSafetensors}.
 * @example
 * await writeCheckpoint('out', tensors, { maxShardBytes: 1e9 });
 */
export async function writeCheckpoint(
  folder: string,
  tensors: NamedTensors,
  { maxShardBytes = 5e9, metadata = { format: 'pt' } }: WriteCheckpointOptions = {},
): Promise<string[]> {
  const { readdir, rm } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const { shards, index } = planShards('writeCheckpoint', entriesOf(tensors), maxShardBytes);
  const files = [...shards.keys()];
  for (const [file, tensors] of shards) await writeSafetensors(join(folder, file), tensors, { metadata });
  const kept = new Set(files);
  if (index !== null) {
    await writeAtomically(join(folder, indexFile), [new TextEncoder().encode(index)]);
    kept.add(indexFile);
  }
  for (const file of await readdir(folder)) {
    const ours =
      file === indexFile || file === singleFile || /^model-\d{5}-of-\d{5}\.safetensors$/.test(file);
    if (ours && !kept.has(file)) await rm(join(folder, file));
  }
  return files;
}

/** Which tensors go to which file, and the text of the index, null where one file holds all. */
export function planShards<T extends TensorSpec>(
  where: string,
  tensors: readonly (readonly [string, T])[],
  maxShardBytes: number,
): { readonly shards: ReadonlyMap<string, ReadonlyMap<string, T>>; readonly index: string | null } {
  check(maxShardBytes > 0, () => `${where}: expected maxShardBytes above 0, got ${maxShardBytes}`);
  const groups: Map<string, T>[] = [new Map()];
  let room = maxShardBytes;
  let total = 0;
  for (const [name, tensor] of tensors) {
    const bytes = checkedByteLength(where, name, tensor);
    total += bytes;
    if (bytes > room && groups.at(-1)!.size > 0) {
      groups.push(new Map());
      room = maxShardBytes;
    }
    groups.at(-1)!.set(name, tensor);
    room -= bytes;
  }
  if (groups.length === 1) return { shards: new Map([[singleFile, groups[0]!]]), index: null };
  const number = (n: number) => String(n).padStart(5, '0');
  const shards = new Map(
    groups.map((group, i) => [`model-${number(i + 1)}-of-${number(groups.length)}.safetensors`, group]),
  );
  const pairs = [...shards].flatMap(([file, group]) =>
    [...group.keys()].map((name) => [name, file] as const),
  );
  pairs.sort(([a], [b]) => (a < b ? -1 : 1));
  const index: ShardIndex = { metadata: { total_size: total }, weight_map: Object.fromEntries(pairs) };
  return { shards, index: `${JSON.stringify(index, null, 2)}\n` };
}
