/**
 * Writing a checkpoint whose tensors come in pieces and in any order, so that none has to be in memory: the layout of
 * all files follows from names, types and shapes, and every piece goes to its place. Node only.
 *
 * For a folder that is new: files have their names from the beginning and are whole after `finish`. Make the folder
 * under a temporary name, and rename it when all is done (`newFolder`).
 */
import type { FileHandle } from 'node:fs/promises';
import { check } from '@minke/core';
import { checkedByteLength, entriesOf, layOut, type TensorSpec } from './encode.ts';
import { indexFile } from './shard-index.ts';
import { planShards, syncFolder, type WriteCheckpointOptions } from './writer.ts';

/** A checkpoint that is being written. */
export interface CheckpointStream {
  /** Names of the weight files. */
  readonly files: readonly string[];
  /** Bytes of the weight files. */
  readonly byteLength: number;
  /** Writes the next bytes of a tensor, little-endian and row-major. Calls of one tensor must await one another. */
  append(name: string, bytes: ArrayBufferView): Promise<void>;
  /** Makes all of it durable. @throws MinkeError 'invalid-argument' if a tensor is not complete. */
  finish(): Promise<void>;
  /** Closes the files as they are; after `finish` it does nothing. */
  close(): Promise<void>;
}

/** Where a tensor goes, and how much of it is there. */
interface Place {
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
  written: number;
}

/**
 * Begins a checkpoint in an existing folder that has none: `model.safetensors`, or shards in the order given with their
 * index.
 *
 * @throws MinkeError 'invalid-argument' for an impossible tensor; the file system's own error.
 * @example
 * const stream = await streamCheckpoint(folder, { 'lm_head.weight': { dtype: 'F16', shape: [2, 4] } });
 * await stream.append('lm_head.weight', new Uint16Array(4));
 * await stream.append('lm_head.weight', new Uint16Array(4));
 * await stream.finish();
 */
export async function streamCheckpoint(
  folder: string,
  tensors: ReadonlyMap<string, TensorSpec> | Readonly<Record<string, TensorSpec>>,
  { maxShardBytes = 5e9, metadata = { format: 'pt' } }: WriteCheckpointOptions = {},
): Promise<CheckpointStream> {
  const { open, writeFile } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const where = 'streamCheckpoint';
  const { shards, index } = planShards(where, entriesOf(tensors), maxShardBytes);
  const places = new Map<string, Place>();
  const heads = new Map<string, Uint8Array>();
  let total = 0;
  for (const [file, shard] of shards) {
    const layout = layOut(where, shard, { metadata });
    heads.set(file, layout.head);
    total += layout.byteLength;
    let offset = layout.head.length;
    for (const [name, tensor] of layout.tensors) {
      const byteLength = checkedByteLength(where, name, tensor);
      places.set(name, { file, offset, byteLength, written: 0 });
      offset += byteLength;
    }
  }

  const handles = new Map<string, FileHandle>();
  const close = async () => {
    const open = [...handles.values()];
    handles.clear();
    await Promise.all(open.map((handle) => handle.close()));
  };
  try {
    for (const [file, head] of heads) {
      const handle = await open(join(folder, file), 'wx');
      handles.set(file, handle);
      await writeAll(handle, head, 0);
    }
    if (index !== null) await writeFile(join(folder, indexFile), index, { flag: 'wx', flush: true });
  } catch (problem) {
    await close();
    throw problem;
  }

  return {
    files: [...shards.keys()],
    byteLength: total,
    async append(name, data) {
      const place = places.get(name);
      check(place !== undefined, () => `${where}: expected a tensor that was announced, got ${name}`);
      const left = place.byteLength - place.written;
      check(
        data.byteLength <= left,
        () => `${where}: expected at most ${left} more bytes of ${name}, got ${data.byteLength}`,
      );
      const at = place.offset + place.written;
      place.written += data.byteLength;
      const handle = handles.get(place.file);
      check(handle !== undefined, () => `${where}: expected an open checkpoint, got one that was closed`);
      await writeAll(handle, new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    },
    async finish() {
      const missing = [...places].find(([, { written, byteLength }]) => written < byteLength);
      check(
        missing === undefined,
        () =>
          `${where}: expected all bytes of ${missing?.[0]}, ${missing?.[1].byteLength}, got ${missing?.[1].written}`,
      );
      for (const handle of handles.values()) await handle.sync();
      await close();
      await syncFolder(folder);
    },
    close,
  };
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const most = Math.min(bytes.length - written, 1 << 30);
    written += (await handle.write(bytes, written, most, at + written)).bytesWritten;
  }
}
