/**
 * Reading GGUF files, the container of llama.cpp: one file, or the parts of a split one as if they were one.
 *
 * The parser is our own. `@huggingface/gguf` 0.4 bounds counts and lengths, but reads from paths and addresses only, throws
 * plain errors, and leaves types, offsets, alignment, overlap and repeated names to its caller, which is where a
 * hostile file strikes; what it would save is the smaller half. Tensors are read when asked for, by positional reads.
 */
import { type ByteSource, check, fileSource, MinkeError } from '@minke/core';
import { type GgufHeader, readGgufHeader } from './gguf-header.ts';
import type { GgufValue } from './gguf-values.ts';
import type { TensorInfo } from './header.ts';
import { byteRange, type TensorReader, tensorReads } from './safetensors.ts';

/** A tensor of a GGUF file; `dtype` is ggml's name of its type (`Q4_K`), `offset` counts in `file`. */
export interface GgufTensorInfo extends TensorInfo<string> {
  readonly file: string;
}

/** An open GGUF file, or all parts of a split one. */
export interface GgufFile extends TensorReader<GgufTensorInfo> {
  readonly version: 2 | 3;
  /** Every metadata value by its key, `llama.block_count` for example; of a split file its first part's. */
  readonly values: ReadonlyMap<string, GgufValue>;
  /** Names of the files. */
  readonly files: readonly string[];
}

/** A part's name: prefix, number from 1, number of parts. */
const partName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/** How `openGguf` opens. */
export interface OpenGgufOptions {
  /** Opens a file by its path, of a split file each part. Default: files of this machine. */
  readonly open?: (path: string) => Promise<ByteSource>;
}

interface Part {
  readonly name: string;
  readonly source: ByteSource;
  readonly header: GgufHeader;
}

/**
 * Opens a GGUF file (version 2 or 3) and checks its whole header; tensors are read later. Of a split file, name the
 * first part: the others are opened beside it.
 *
 * @param from a path (Node), or any source of bytes, which `close()` then closes.
 * @throws MinkeError 'invalid-file' for a file that is broken, cut short or lacks a part; 'unsupported' for a version,
 * byte order or type that is not read. The message says what is wrong.
 * @example
 * const file = await openGguf('SmolLM2-135M-Instruct.Q4_1.gguf');
 * file.values.get('general.architecture'); // 'llama'
 * file.tensors.get('token_embd.weight'); // { dtype: 'Q8_0', shape: [49152, 576], ... }
 * const weights = await file.readFloat32('token_embd.weight'); // dequantised
 * await file.close();
 */
export async function openGguf(from: string | ByteSource, options: OpenGgufOptions = {}): Promise<GgufFile> {
  const { open: openPath = fileSource } = options;
  const parts: Part[] = [];
  const close = async () => {
    await Promise.all(parts.map(({ source }) => source.close()));
  };
  const open = async (name: string, source: ByteSource): Promise<Part> => {
    try {
      const part = { name, source, header: await readGgufHeader(source, name) };
      parts.push(part);
      return part;
    } catch (error) {
      await source.close();
      throw error;
    }
  };
  try {
    const first =
      typeof from === 'string' ? await open(from, await openPath(from)) : await open('bytes', from);
    for (const path of otherParts(first, typeof from === 'string')) {
      await open(path, await openPart(first, path, openPath));
      checkPart(parts, first);
    }
    return { ...joined(parts, first), close };
  } catch (error) {
    await close();
    throw error;
  }
}

const failed = (name: string, problem: string) =>
  new MinkeError('invalid-file', `openGguf(${name}): ${problem}`, { details: { name } });

/** A whole number of the header, or `otherwise` where there is none. */
function wholeNumber({ name, header }: Part, key: string, otherwise: number): number {
  const value = header.values.get(key) ?? otherwise;
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw failed(name, `expected ${key} to be a whole number, got ${String(value).slice(0, 40)}`);
  return value as number;
}

/** Paths of the parts after the first, beside it. */
function otherParts(first: Part, isPath: boolean): string[] {
  const count = wholeNumber(first, 'split.count', 1);
  if (count <= 1) return [];
  check(isPath, () => 'openGguf: expected the path of a split file, got a source of bytes');
  const cut = Math.max(first.name.lastIndexOf('/'), first.name.lastIndexOf('\\')) + 1;
  const [folder, name] = [first.name.slice(0, cut), first.name.slice(cut)];
  const match = partName.exec(name);
  if (match === null || Number(match[3]) !== count)
    throw failed(
      first.name,
      `expected the first of ${count} parts to be called <name>-00001-of-${String(count).padStart(5, '0')}.gguf`,
    );
  if (Number(match[2]) !== 1 || wholeNumber(first, 'split.no', 0) !== 0)
    throw failed(first.name, 'expected the first part of a split file, got another; open the one with 00001');
  return Array.from(
    { length: count - 1 },
    (_, i) => `${folder}${match[1]}-${String(i + 2).padStart(5, '0')}-of-${match[3]}.gguf`,
  );
}

async function openPart(
  first: Part,
  path: string,
  open: (path: string) => Promise<ByteSource>,
): Promise<ByteSource> {
  try {
    return await open(path);
  } catch (cause) {
    const name = path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
    throw new MinkeError(
      'invalid-file',
      `openGguf(${first.name}): its part ${name} is missing or cannot be read (${(cause as Error).message}); download all parts`,
      { cause, details: { name: first.name } },
    );
  }
}

/** The part that was opened last must be the one its name says, of the same model. */
function checkPart(parts: readonly Part[], first: Part): void {
  const part = parts.at(-1) as Part;
  const expected = { 'split.no': parts.length - 1, 'split.count': wholeNumber(first, 'split.count', 1) };
  for (const [key, wanted] of Object.entries(expected)) {
    const got = wholeNumber(part, key, 0);
    if (got !== wanted)
      throw failed(part.name, `expected ${key} ${wanted}, got ${got}; the parts do not belong together`);
  }
}

function joined(parts: readonly Part[], first: Part): Omit<GgufFile, 'close'> {
  const tensors = new Map<string, GgufTensorInfo>();
  for (const { name: file, header } of parts) {
    for (const [name, info] of header.tensors) {
      const other = tensors.get(name);
      if (other !== undefined) throw failed(file, `tensor ${JSON.stringify(name)} is also in ${other.file}`);
      tensors.set(name, { ...info, file });
    }
  }
  const promised = wholeNumber(first, 'split.tensors.count', tensors.size);
  if (promised !== tensors.size)
    throw failed(first.name, `expected ${promised} tensors in all parts, got ${tensors.size}`);
  const sourceOf = new Map(parts.map(({ name, source }) => [name, source]));
  const where = `gguf(${first.name})`;
  const reads = tensorReads(where, tensors, (name, tensor, part) => {
    const { file } = tensors.get(name) as GgufTensorInfo;
    return (sourceOf.get(file) as ByteSource).read(...byteRange(where, tensor, part));
  });
  const { version, values } = first.header;
  const metadata = Object.fromEntries(
    [...values].filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
  return { version, values, metadata, files: parts.map(({ name }) => name), tensors, ...reads };
}
