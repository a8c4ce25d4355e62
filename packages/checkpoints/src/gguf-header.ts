/**
 * The header of a GGUF file: metadata, and where each tensor is, with every number checked.
 *
 * Format: github.com/ggml-org/ggml, docs/gguf.md; the checks are those of llama.cpp's own reader (ggml/src/gguf.cpp)
 * and more. Versions 2 and 3, little-endian. Required: counts and lengths that the file can hold; known types; rows of
 * whole blocks; offsets that are multiples of the alignment and follow each other without overlap or hole; no key or
 * tensor twice; all data within the file. Values (NaN, infinity) are not looked at, nor bytes after the last tensor.
 */
import type { ByteSource } from '@minke/core';
import { GgufCursor } from './gguf-cursor.ts';
import { ggufTypeOf } from './gguf-types.ts';
import { type GgufValue, readGgufValue } from './gguf-values.ts';
import { describeImpostor, type TensorInfo } from './header.ts';

/** Largest header read, in bytes: the metadata of published models takes some 10 MB. */
export const maxGgufHeaderBytes = 1 << 27;
const maxTensors = 1 << 20;
const maxValues = 1 << 16;
const maxKeyBytes = 65_535;
const maxNameBytes = 1024;
const maxRank = 4;
const maxAlignment = 1 << 20;

/** One file's header. */
export interface GgufHeader {
  readonly version: 2 | 3;
  readonly values: ReadonlyMap<string, GgufValue>;
  /** By name, in the order of the data; shapes outermost first, as in PyTorch: the reverse of the file's. */
  readonly tensors: ReadonlyMap<string, TensorInfo<string>>;
}

/** A tensor before its place is known to be right. */
interface Entry extends TensorInfo<string> {
  readonly name: string;
}

/**
 * Reads and checks a header.
 * @param name what to call the file in errors.
 * @throws MinkeError 'invalid-file', or 'unsupported' for versions, byte orders and types that are not read.
 */
export async function readGgufHeader(source: ByteSource, name: string): Promise<GgufHeader> {
  const cursor = new GgufCursor(source, `openGguf(${name})`, maxGgufHeaderBytes);
  const version = await readVersion(cursor, source);
  const tensorCount = await cursor.count('tensors', 24, maxTensors);
  const valueCount = await cursor.count('metadata values', 13, maxValues);
  const values = new Map<string, GgufValue>();
  for (let i = 0; i < valueCount; i++) {
    const key = await cursor.string('a metadata key', maxKeyBytes);
    const label = JSON.stringify(key.slice(0, 80));
    if (values.has(key)) throw cursor.error(`the metadata key ${label} appears twice`);
    values.set(key, await readGgufValue(cursor, label));
  }
  const alignment = alignmentOf(cursor, values.get('general.alignment'));
  const names = new Set<string>();
  const entries: Entry[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const entry = await readEntry(cursor);
    if (names.has(entry.name)) throw cursor.error(`tensor ${JSON.stringify(entry.name)} appears twice`);
    names.add(entry.name);
    entries.push(entry);
  }
  return { version, values, tensors: place(cursor, entries, alignment, source.size) };
}

async function readVersion(cursor: GgufCursor, source: ByteSource): Promise<2 | 3> {
  const start = await source.read(0, Math.min(64, source.size));
  const isGguf = String.fromCharCode(...start.subarray(0, 4)) === 'GGUF';
  if (!isGguf || source.size < 24) {
    const impostor = isGguf ? undefined : describeImpostor(start);
    throw cursor.error(
      impostor ?? `expected a GGUF file of at least 24 bytes, got ${source.size} bytes that are none`,
    );
  }
  await cursor.u32('the magic number');
  const version = await cursor.u32('the version');
  if (version !== 0 && version % 65_536 === 0)
    throw cursor.error('it is in big-endian byte order; convert it to little-endian', 'unsupported');
  if (version !== 2 && version !== 3)
    throw cursor.error(`expected GGUF version 2 or 3, got ${version}`, 'unsupported');
  return version;
}

function alignmentOf(cursor: GgufCursor, value: GgufValue | undefined): number {
  if (value === undefined) return 32;
  const bits = typeof value === 'number' ? Math.log2(value) : Number.NaN;
  if (!Number.isInteger(bits) || bits < 0 || (value as number) > maxAlignment)
    throw cursor.error(
      `expected general.alignment to be a power of two of at most ${maxAlignment}, got ${value}`,
    );
  return value as number;
}

async function readEntry(cursor: GgufCursor): Promise<Entry> {
  const name = await cursor.string('the name of a tensor', maxNameBytes);
  const label = `tensor ${JSON.stringify(name)}`;
  const rank = await cursor.u32(`the rank of ${label}`);
  if (rank > maxRank) throw cursor.error(`${label}: expected at most ${maxRank} dimensions, got ${rank}`);
  const sizes: number[] = [];
  let elements = 1;
  for (let i = 0; i < rank; i++) {
    const size = Number(await cursor.u64(`a dimension of ${label}`));
    elements *= size;
    if (!Number.isSafeInteger(size) || !Number.isSafeInteger(elements))
      throw cursor.error(`${label} has more than 2^53 elements`);
    sizes.push(size);
  }
  const type = ggufTypeOf(await cursor.u32(`the type of ${label}`));
  if (typeof type === 'string') throw cursor.error(`${label}: ${type}`, 'unsupported');
  const { name: dtype, blockSize, blockBytes } = type;
  const row = sizes[0] ?? 1;
  if (row % blockSize !== 0)
    throw cursor.error(`${label}: expected rows of whole blocks of ${blockSize} for ${dtype}, got ${row}`);
  const byteLength = (elements / blockSize) * blockBytes;
  const offset = Number(await cursor.u64(`the offset of ${label}`));
  if (!Number.isSafeInteger(byteLength) || !Number.isSafeInteger(offset))
    throw cursor.error(`${label} lies beyond 2^53 bytes`);
  return { name, dtype, shape: sizes.reverse(), offset, byteLength };
}

/** The tensors, their offsets counted from the beginning of the file. */
function place(
  cursor: GgufCursor,
  entries: readonly Entry[],
  alignment: number,
  fileSize: number,
): Map<string, TensorInfo<string>> {
  const pad = (bytes: number) => Math.ceil(bytes / alignment) * alignment;
  const dataStart = pad(cursor.position);
  const tensors = new Map<string, TensorInfo<string>>();
  let expected = 0;
  const sorted = [...entries].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  for (const { name, ...info } of sorted) {
    const label = `tensor ${JSON.stringify(name)}`;
    if (info.offset !== expected)
      throw cursor.error(
        `${label}: expected its data at offset ${expected}, after the tensor before it, got ${info.offset}`,
      );
    const offset = dataStart + info.offset;
    const end = offset + info.byteLength;
    if (end > fileSize)
      throw cursor.error(
        `${label} ends at byte ${end}, but the file has ${fileSize}; it is cut short, download it again`,
      );
    tensors.set(name, { ...info, offset });
    expected = pad(info.offset + info.byteLength);
  }
  return tensors;
}
