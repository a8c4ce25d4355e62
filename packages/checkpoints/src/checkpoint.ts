/**
 * Reading a checkpoint folder in the Hugging Face layout, in one file or in shards, as if it were one file.
 *
 * All headers are read and checked at once (they are small), tensors when asked for. Shards must lie in the
 * folder: a symbolic link may not lead out of it, except into the `blobs` folders of a Hugging Face cache, whose
 * snapshots are made of such links. Node only.
 */
import { fileSource, MinkeError } from '@minke/core';
import type { TensorInfo } from './header.ts';
import { openSafetensors, type SafetensorsFile, type TensorReader, tensorReads } from './safetensors.ts';
import { indexFile, maxIndexBytes, type ParsedIndex, parseShardIndex, singleFile } from './shard-index.ts';

/** A tensor of a checkpoint, with the file that holds it; `offset` counts in that file. */
export interface CheckpointTensorInfo extends TensorInfo {
  readonly file: string;
}

/** An open checkpoint folder. */
export interface Checkpoint extends TensorReader<CheckpointTensorInfo> {
  /** Names of the weight files. */
  readonly files: readonly string[];
}

export interface OpenCheckpointOptions {
  /**
   * Refuse an index whose total_size is neither the bytes of all tensors nor of all files. Default true; some
   * hand-made indexes carry a wrong number that nothing else depends on.
   */
  readonly checkTotalSize?: boolean;
}

/** Shards whose headers are read at the same time. */
const concurrency = 8;

/**
 * Opens `model.safetensors.index.json` and its shards, or `model.safetensors`, in a folder.
 *
 * @throws MinkeError 'invalid-file' if there is neither, if index and shards disagree (a missing shard, a
 * tensor in two shards or in none, a wrong total), if a path leads out of the folder, or for a malformed file.
 * @example
 * const checkpoint = await openCheckpoint('DeepSeek-V2-Lite');
 * const norm = await checkpoint.readFloat32('model.norm.weight');
 * await checkpoint.close();
 */
export async function openCheckpoint(
  folder: string,
  options: OpenCheckpointOptions = {},
): Promise<Checkpoint> {
  const where = `openCheckpoint(${folder})`;
  const failed = (problem: string, cause?: unknown) =>
    new MinkeError('invalid-file', `${where}: ${problem}`, { cause });
  const { readdir } = await import('node:fs/promises');
  const present = new Set(
    await readdir(folder).catch((cause: Error) => {
      throw failed(`cannot list the folder: ${cause.message}`, cause);
    }),
  );
  let index: ParsedIndex | undefined;
  if (present.has(indexFile)) index = await readIndex(folder, `${where}, ${indexFile}`);
  else if (!present.has(singleFile)) {
    const pickle = [...present].find((file) => /\.(bin|pt|pth|ckpt)$/.test(file));
    const advice =
      pickle === undefined ? '' : `; ${pickle} is a pickle, which is never opened: convert it to safetensors`;
    throw failed(`found neither ${singleFile} nor ${indexFile}${advice}`);
  }
  const files = index === undefined ? [singleFile] : [...new Set(index.shardOf.values())].sort();
  const missing = files.filter((file) => !present.has(file));
  if (missing.length > 0) {
    throw failed(`${indexFile} names ${missing.length} missing files, first ${missing[0]}; download them`);
  }

  const shards = new Map<string, SafetensorsFile>();
  const close = async () => {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
  };
  try {
    for (let i = 0; i < files.length; i += concurrency) {
      const group = files.slice(i, i + concurrency);
      const opened = await Promise.allSettled(
        group.map(async (file) => openSafetensors(await resolveInside(folder, file, failed))),
      );
      opened.forEach((result, j) => {
        if (result.status === 'fulfilled') shards.set(group[j]!, result.value);
      });
      for (const result of opened) if (result.status === 'rejected') throw result.reason;
    }
    const tensors = mergeShards(shards, index, failed);
    if (index?.totalSize !== undefined && options.checkTotalSize !== false) {
      await checkTotalSize(folder, index.totalSize, tensors, files, failed);
    }
    const reads = tensorReads(where, tensors, (name, _, part) =>
      shards.get(tensors.get(name)!.file)!.read(name, part),
    );
    const metadata = Object.assign({}, ...[...shards.values()].map((shard) => shard.metadata));
    return { files, tensors, metadata, ...reads, close };
  } catch (error) {
    await close();
    throw error;
  }
}

type Failure = (problem: string, cause?: unknown) => MinkeError;

async function readIndex(folder: string, where: string): Promise<ParsedIndex> {
  const { join } = await import('node:path');
  const source = await fileSource(join(folder, indexFile));
  try {
    if (source.size > maxIndexBytes) {
      throw new MinkeError(
        'invalid-file',
        `${where}: expected at most ${maxIndexBytes} bytes, got ${source.size}`,
      );
    }
    const bytes = await source.read(0, source.size);
    let text: string;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      throw new MinkeError('invalid-file', `${where}: it is not UTF-8`);
    }
    return parseShardIndex(text, where);
  } finally {
    await source.close();
  }
}

/** The real path of a shard, which must lie in the folder, or in the blobs of the Hugging Face cache it is part of. */
async function resolveInside(folder: string, file: string, failed: Failure): Promise<string> {
  const { realpath } = await import('node:fs/promises');
  const { basename, dirname, join, sep } = await import('node:path');
  const root = await realpath(folder);
  const path = await realpath(join(folder, file)).catch((cause: NodeJS.ErrnoException) => {
    const reason =
      cause.code === 'ELOOP' ? 'is a loop of symbolic links' : `cannot be resolved: ${cause.message}`;
    throw failed(`${file} ${reason}`, cause);
  });
  const snapshots = dirname(root);
  const model = dirname(snapshots);
  // A model's blobs are links themselves where huggingface_hub shares content between models.
  const blobs = [join(model, 'blobs'), join(dirname(model), 'blobs')];
  const roots = basename(snapshots) === 'snapshots' ? [root, ...blobs] : [root];
  if (!roots.some((allowed) => path.startsWith(allowed.endsWith(sep) ? allowed : allowed + sep))) {
    throw failed(`${file} is a symbolic link out of the folder; put the file itself there`);
  }
  return path;
}

/** @internal Every tensor of every shard, each in exactly the shard that the index names. */
export function mergeShards(
  shards: ReadonlyMap<string, Pick<SafetensorsFile, 'tensors'>>,
  index: ParsedIndex | undefined,
  failed: Failure,
): Map<string, CheckpointTensorInfo> {
  const tensors = new Map<string, CheckpointTensorInfo>();
  for (const [file, shard] of shards) {
    for (const [name, info] of shard.tensors) {
      const other = tensors.get(name);
      if (other !== undefined)
        throw failed(`tensor ${JSON.stringify(name)} is in both ${other.file} and ${file}`);
      const named = index?.shardOf.get(name);
      if (index !== undefined && named !== file) {
        throw failed(
          `tensor ${JSON.stringify(name)} is in ${file}, but ${indexFile} says ${named ?? 'nothing of it'}`,
        );
      }
      tensors.set(name, { ...info, file });
    }
  }
  for (const [name, file] of index?.shardOf ?? []) {
    if (!tensors.has(name))
      throw failed(`${indexFile} says that ${file} holds tensor ${JSON.stringify(name)}, but it does not`);
  }
  return tensors;
}

async function checkTotalSize(
  folder: string,
  said: number,
  tensors: ReadonlyMap<string, TensorInfo>,
  files: readonly string[],
  failed: Failure,
): Promise<void> {
  const { stat } = await import('node:fs/promises');
  const { join } = await import('node:path');
  let tensorBytes = 0;
  for (const { byteLength } of tensors.values()) tensorBytes += byteLength;
  let fileBytes = 0;
  for (const file of files) fileBytes += (await stat(join(folder, file))).size;
  if (said !== tensorBytes && said !== fileBytes) {
    throw failed(
      `${indexFile} says total_size ${said}, but the tensors take ${tensorBytes} bytes (the files ${fileBytes}); ` +
        'if the files are right, open with checkTotalSize: false',
    );
  }
}
