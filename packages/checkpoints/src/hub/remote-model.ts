/**
 * A model on a hub, looked at before anything of it is fetched: the listing, small files, and the headers of weights by
 * ranges. Of DeepSeek-V3's 690 GB that is some 40 MB in 163 requests; of a GGUF file its metadata, some 10 MB.
 */
import { type ByteSource, MinkeError } from '@minke/core';
import { type CheckpointTensorInfo, mergeShards } from '../checkpoint.ts';
import { type GgufFile, openGguf } from '../gguf.ts';
import { readHeader, type TensorInfo } from '../header.ts';
import { indexFile, type ParsedIndex, parseShardIndex, singleFile } from '../shard-index.ts';
import { HubClient, type RequestOptions } from './client.ts';
import { HubError } from './hub-error.ts';
import { parseHubId } from './hub-id.ts';
import { fetchListing, fileUrl, type HubFile, type HubListing } from './listing.ts';
import { type RangeRequest, Slots } from './ranges.ts';
import { remoteSource } from './remote-source.ts';

/** Largest file that `readText` reads, in bytes. */
const maxTextBytes = 100_000_000;
/** Connections at once. */
const connections = 8;

/** The tensors of safetensors files, by name. */
export interface RemoteTensors {
  /** Paths of the files in the model. */
  readonly files: readonly string[];
  readonly tensors: ReadonlyMap<string, CheckpointTensorInfo>;
}

/** A model on a hub. Reads throw `HubError`, or `invalid-file` for what came. */
export interface RemoteModel extends HubListing {
  /** Bytes that came over the network so far, the listing not counted. */
  readonly received: number;
  /** A file of at most 100 MB as text; undefined where the model has none of this path. */
  readText(path: string): Promise<string | undefined>;
  /** A file, read by ranges. */
  open(path: string): Promise<ByteSource>;
  /** The headers of one safetensors file; default: of model.safetensors, or of all shards of its index. */
  openSafetensors(path?: string): Promise<RemoteTensors>;
  /** The header of a GGUF file, of a split one those of all parts. */
  openGguf(path: string): Promise<GgufFile>;
}

/**
 * Lists a model.
 *
 * @param from `owner/name` or `owner/name@revision`
 * @throws HubError `no-such-model`, `no-such-revision`, `gated`, `unauthorized`, `unreachable`, `bad-listing`
 * @example
 * const model = await openRemoteModel('deepseek-ai/DeepSeek-V2-Lite');
 * const { tensors } = await model.openSafetensors(); // names, types and shapes; 31 GB stay where they are
 */
export async function openRemoteModel(from: string, options: RequestOptions = {}): Promise<RemoteModel> {
  const client = new HubClient(options);
  const listing = await fetchListing(client, parseHubId(from));
  const { id, commit } = listing;
  const slots = new Slots(connections);
  let received = 0;
  const fileOf = (path: string): HubFile => {
    const file = listing.files.find((one) => one.path === path);
    if (file !== undefined) return file;
    throw new HubError('no-such-file', `${id}: expected a file ${path}, but the model has none`);
  };
  const open = async (path: string): Promise<ByteSource> => {
    const url = fileUrl(client, { id, revision: commit }, path);
    const request: RangeRequest = {
      ...{ client, url, file: fileOf(path), id, slots, ranges: 1, segmentBytes: maxTextBytes },
    };
    return remoteSource(request, (bytes) => {
      received += bytes;
    });
  };
  const readText = async (path: string): Promise<string | undefined> => {
    const file = listing.files.find((one) => one.path === path);
    if (file === undefined) return undefined;
    if (file.size > maxTextBytes)
      throw broken(`${id}, ${path}`, `expected at most ${maxTextBytes} bytes, got ${file.size}`);
    const bytes = await (await open(path)).read(0, file.size);
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      throw broken(`${id}, ${path}`, 'it is not UTF-8');
    }
  };
  return {
    ...listing,
    get received() {
      return received;
    },
    readText,
    open,
    openGguf: (path) => openGguf(path, { open }),
    async openSafetensors(path) {
      const text = path === undefined ? await readText(indexFile) : undefined;
      const index = text === undefined ? undefined : parseShardIndex(text, `${id}, ${indexFile}`);
      const files = index === undefined ? [path ?? singleFile] : [...new Set(index.shardOf.values())].sort();
      for (const file of files) fileOf(file);
      return { files, tensors: await headers(id, files, index, open) };
    },
  };
}

const broken = (where: string, problem: string) => new MinkeError('invalid-file', `${where}: ${problem}`);

async function headers(
  id: string,
  files: readonly string[],
  index: ParsedIndex | undefined,
  open: (path: string) => Promise<ByteSource>,
): Promise<ReadonlyMap<string, CheckpointTensorInfo>> {
  const shards = new Map<string, { tensors: ReadonlyMap<string, TensorInfo> }>();
  const queue = files.values();
  const worker = async () => {
    for (const file of queue) {
      const source = await open(file);
      shards.set(file, await readHeader(source, `${id}/${file}`));
      await source.close();
    }
  };
  await Promise.all(Array.from({ length: Math.min(connections, files.length) }, worker));
  const inOrder = new Map(
    files.map((file) => [file, shards.get(file) as { tensors: ReadonlyMap<string, TensorInfo> }]),
  );
  return mergeShards(inOrder, index, (problem) => broken(id, problem));
}
