/**
 * Reading one safetensors file: the header at once, each tensor when it is asked for.
 */
import { type ByteSource, blockTypes, check, elementCount, fileSource, isBlockType } from '@minke/core';
import { asTyped, type TypedArray, toFloat32 } from './dtypes.ts';
import { readHeader, type TensorInfo } from './header.ts';

/** A run of a tensor's numbers, in row-major order. */
export interface TensorPart {
  /** The first one. Of types that are blocks, at the beginning of one. */
  readonly start: number;
  /** How many, of blocks whole ones. */
  readonly count: number;
}

/** Tensors by name, read when asked for: one file, or several as if they were one. */
export interface TensorReader<Info extends TensorInfo<string> = TensorInfo> {
  /** Every tensor's type, shape and place. */
  readonly tensors: ReadonlyMap<string, Info>;
  /** What the file says in strings: `__metadata__`, `{ format: 'pt' }` for example. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The raw little-endian bytes of a tensor, or of a part of it; the array belongs to the caller. */
  read(name: string, part?: TensorPart): Promise<Uint8Array>;
  /**
   * A F32, F16, BF16 or F64 tensor, or one of GGUF's block types, or a part of it, as float32.
   * @throws MinkeError 'unsupported' for other types.
   */
  readFloat32(name: string, part?: TensorPart): Promise<Float32Array>;
  /** A tensor in its own type: I64 as BigInt64Array, BF16 and F16 as Uint16Array bit patterns, BOOL as Uint8Array. */
  readTyped(name: string): Promise<TypedArray>;
  /** Closes the file or files. */
  close(): Promise<void>;
}

/** An open safetensors file. */
export type SafetensorsFile = TensorReader;

/** The three ways to read a tensor, given how its bytes are read. */
export function tensorReads(
  where: string,
  tensors: ReadonlyMap<string, TensorInfo<string>>,
  readBytes: (name: string, tensor: TensorInfo<string>, part?: TensorPart) => Promise<Uint8Array>,
): Pick<TensorReader, 'read' | 'readFloat32' | 'readTyped'> {
  const locate = (name: string): TensorInfo<string> => {
    const tensor = tensors.get(name);
    check(tensor !== undefined, () => {
      const known = [...tensors.keys()].slice(0, 3).map((known) => JSON.stringify(known));
      return `${where}: no tensor ${JSON.stringify(name)} among ${tensors.size}, such as ${known.join(', ')}`;
    });
    return tensor;
  };
  const read = async (name: string, part?: TensorPart) => readBytes(name, locate(name), part);
  const label = (name: string) => `${where}, ${JSON.stringify(name)}`;
  return {
    read,
    readFloat32: async (name, part) => toFloat32(locate(name).dtype, await read(name, part), label(name)),
    readTyped: async (name) => asTyped(locate(name).dtype, await read(name), label(name)),
  };
}

/**
 * Where a tensor, or a part of it, lies in the file.
 * @throws MinkeError 'invalid-argument' for a part that is not whole blocks of the tensor
 */
export function byteRange(
  where: string,
  { dtype, shape, offset, byteLength }: TensorInfo<string>,
  part?: TensorPart,
): [offset: number, length: number] {
  if (part === undefined) return [offset, byteLength];
  const elements = elementCount(shape);
  const { start, count } = part;
  const { blockSize, blockBytes } = isBlockType(dtype)
    ? blockTypes[dtype]
    : { blockSize: 1, blockBytes: elements === 0 ? 0 : byteLength / elements };
  check(
    [start, count].every((n) => Number.isSafeInteger(n) && n >= 0 && n % blockSize === 0) &&
      start + count <= elements &&
      Number.isInteger(blockBytes),
    () =>
      `${where}: expected a part of ${dtype} in whole blocks within ${elements} numbers, got ${count} from ${start} on`,
  );
  return [offset + (start / blockSize) * blockBytes, (count / blockSize) * blockBytes];
}

/**
 * Opens a safetensors file and checks its whole header; tensors are read later, by positional reads.
 *
 * @param from a path (Node), or any source of bytes, which `close()` then closes.
 * @throws MinkeError 'invalid-file' for anything but a well-formed file; the message says what is wrong.
 * @example
 * const file = await openSafetensors('model.safetensors');
 * file.tensors.get('lm_head.weight'); // { dtype: 'BF16', shape: [512, 192], offset: ..., byteLength: 196608 }
 * const weights = await file.readFloat32('lm_head.weight');
 * await file.close();
 */
export async function openSafetensors(from: string | ByteSource): Promise<SafetensorsFile> {
  const name = typeof from === 'string' ? from : 'bytes';
  const source = typeof from === 'string' ? await fileSource(from) : from;
  try {
    const { tensors, metadata } = await readHeader(source, name);
    const where = `safetensors(${name})`;
    const reads = tensorReads(where, tensors, (_, tensor, part) =>
      source.read(...byteRange(where, tensor, part)),
    );
    return { tensors, metadata, ...reads, close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}
