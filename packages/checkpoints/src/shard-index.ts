/**
 * `model.safetensors.index.json`: which shard holds which tensor (the layout of huggingface_hub's
 * `split_torch_state_dict_into_shards`). Parsed with duplicate keys and unsafe paths refused.
 */
import { MinkeError } from '@minke/core';
import { JsonReader } from './json-reader.ts';

export const singleFile = 'model.safetensors';
export const indexFile = 'model.safetensors.index.json';
/** Largest index read, in bytes. */
export const maxIndexBytes = 100_000_000;

/** The file as it is written. */
export interface ShardIndex {
  readonly metadata: { readonly total_size: number };
  readonly weight_map: Readonly<Record<string, string>>;
}

/** The file as it is read. */
export interface ParsedIndex {
  /** Shard file name by tensor name. */
  readonly shardOf: ReadonlyMap<string, string>;
  /** Bytes of all tensors, if the index says so. */
  readonly totalSize: number | undefined;
}

/**
 * Parses an index.
 *
 * @param where the beginning of every error message.
 * @throws MinkeError 'invalid-file'.
 */
export function parseShardIndex(text: string, where: string): ParsedIndex {
  const reader = new JsonReader(text, where);
  const shardOf = new Map<string, string>();
  let hasMap = false;
  let totalSize: number | undefined;
  reader.object((key) => {
    if (key === 'weight_map') {
      hasMap = true;
      reader.object((tensor) => {
        const shard = reader.string(`the file of tensor ${JSON.stringify(tensor)}`);
        if (!isPlainFileName(shard)) {
          throw reader.error(
            `tensor ${JSON.stringify(tensor)}: expected the name of a file in the same folder, got ${JSON.stringify(shard)}`,
          );
        }
        shardOf.set(tensor, shard);
      });
    } else if (key === 'metadata') {
      reader.object((field) => {
        if (field === 'total_size') totalSize = reader.wholeNumber('metadata.total_size');
        else reader.skipValue();
      });
    } else reader.skipValue();
  });
  reader.end();
  if (!hasMap || shardOf.size === 0)
    throw new MinkeError('invalid-file', `${where}: expected a weight_map with tensors`);
  return { shardOf, totalSize };
}

/** No separators (of any platform), drive letters, NUL, `.` or `..`. */
function isPlainFileName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\\:\0]/.test(name);
}
