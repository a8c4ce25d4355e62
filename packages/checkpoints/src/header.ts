/**
 * The safetensors header: parsing with every check of the reference implementation.
 *
 * A file is an 8-byte little-endian length N, N bytes of JSON, and the data. Required here, as in
 * huggingface/safetensors (safetensors/src/tensor.rs): N at most 100 MB; UTF-8 that begins with `{`; no
 * duplicate keys; known types; shape and type agree with the byte span; spans that cover the data exactly,
 * without overlap or hole; metadata from strings to strings. Unknown fields of a tensor are ignored, values
 * (NaN, infinity) are not looked at.
 */
import { type ByteSource, MinkeError } from '@minke/core';
import { isSafetensorsDType, type SafetensorsDType, safetensorsDTypes, tensorByteLength } from './dtypes.ts';
import { JsonReader } from './json-reader.ts';

/** The format's own limit on the header, in bytes. */
export const maxHeaderBytes = 100_000_000;
/** Dimensions a tensor may have here; the format sets no limit. */
const maxRank = 64;

/** One tensor of a file. `D`: how the format spells element types. */
export interface TensorInfo<D extends string = SafetensorsDType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  /** First byte, counted from the beginning of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface Header {
  /** By name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * What people often have instead of a safetensors file, told by its first bytes. Only asked of a file that is
 * none: the length of a good header can look like anything.
 */
export function describeImpostor(start: Uint8Array): string | undefined {
  const text = String.fromCharCode(...start);
  if (text.startsWith('version https://git-lfs')) {
    return 'this is a Git LFS pointer, not the weights; run `git lfs pull` or download the file itself';
  }
  if (/^\s*<(!doctype|html|head|body|\?xml)/i.test(text)) {
    return 'this is a web page, probably an error page saved by a download; download the file again';
  }
  const zip = text.startsWith('PK\x03\x04'); // torch.save since 1.6: a zip archive of pickles
  const pickle = start[0] === 0x80 && start[1]! >= 2 && start[1]! <= 5; // opcode PROTO and a protocol number
  if (zip || pickle) {
    return 'this is a pickle (PyTorch .bin or .pt), which can run code and is never opened; convert it to safetensors';
  }
  if (text.startsWith('GGUF')) return 'this is a GGUF file, not safetensors; use openGguf';
  return undefined;
}

/**
 * Reads and checks the header of a file.
 *
 * @param name what to call the file in errors.
 * @throws MinkeError 'invalid-file'.
 */
export async function readHeader(source: ByteSource, name: string): Promise<Header> {
  const where = `openSafetensors(${name})`;
  const failed = (problem: string) =>
    new MinkeError('invalid-file', `${where}: ${problem}`, { details: { name } });

  const start = await source.read(0, Math.min(64, source.size));
  const failedStart = (problem: string) =>
    failed(describeImpostor(start) ?? `${problem}; download the file again`);
  if (source.size < 8) throw failedStart(`expected at least 8 bytes, got ${source.size}`);
  const length64 = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  if (length64 > BigInt(maxHeaderBytes)) {
    throw failedStart(`expected a header of at most ${maxHeaderBytes} bytes, got ${length64}`);
  }
  const headerBytes = Number(length64);
  if (8 + headerBytes > source.size) {
    throw failedStart(
      `its header ends at byte ${8 + headerBytes}, but the file has ${source.size}: it is cut short`,
    );
  }
  const bytes = await source.read(8, headerBytes);
  if (bytes[0] !== 0x7b) throw failedStart('expected a header that begins with "{"');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw failed('its header is not UTF-8');
  }
  return parseHeader(text, where, 8 + headerBytes, source.size);
}

function parseHeader(text: string, where: string, dataStart: number, fileSize: number): Header {
  const reader = new JsonReader(text, where);
  const metadata: Record<string, string> = {};
  const found: [string, TensorInfo][] = [];
  reader.object((key) => {
    if (key === '__metadata__') {
      reader.object((field) => {
        metadata[field] = reader.string(`a string for __metadata__.${field}`);
      });
    } else found.push([key, readTensorInfo(reader, key, dataStart)]);
  });
  reader.end();
  found.sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength);
  checkCoverage(found, where, dataStart, fileSize);
  return { tensors: new Map(found), metadata };
}

function readTensorInfo(reader: JsonReader, name: string, dataStart: number): TensorInfo {
  const label = `tensor ${JSON.stringify(name)}`;
  let dtype: SafetensorsDType | undefined;
  let shape: number[] | undefined;
  let span: number[] | undefined;
  reader.object((field) => {
    if (field === 'dtype') {
      const given = reader.string(`the dtype of ${label}`);
      if (!isSafetensorsDType(given)) {
        throw reader.error(
          `${label}: unknown dtype ${JSON.stringify(given)}; known are ${safetensorsDTypes.join(', ')}`,
        );
      }
      dtype = given;
    } else if (field === 'shape') shape = readNumbers(reader, `a dimension of ${label}`, maxRank);
    else if (field === 'data_offsets') span = readNumbers(reader, `an offset of ${label}`, 2);
    else reader.skipValue();
  });
  if (dtype === undefined || shape === undefined || span === undefined) {
    throw reader.error(`${label}: expected dtype, shape and data_offsets`);
  }
  if (span.length !== 2) throw reader.error(`${label}: expected two data_offsets, got ${span.length}`);
  const [begin, end] = span as [number, number];
  if (begin > end) throw reader.error(`${label}: its data begins at ${begin}, after its end at ${end}`);
  const expected = tensorByteLength(dtype, shape);
  if (typeof expected === 'string') throw reader.error(`${label} of shape [${shape}]: ${expected}`);
  if (expected !== end - begin) {
    throw reader.error(
      `${label}: ${dtype} of shape [${shape}] takes ${expected} bytes, but its span has ${end - begin}`,
    );
  }
  return { dtype, shape, offset: dataStart + begin, byteLength: end - begin };
}

function readNumbers(reader: JsonReader, what: string, atMost: number): number[] {
  const numbers: number[] = [];
  reader.array(() => {
    if (numbers.length === atMost)
      throw reader.error(`more than ${atMost} numbers where ${what} was expected`);
    numbers.push(reader.wholeNumber(what));
  });
  return numbers;
}

/** The spans, sorted, must follow each other from the first byte of the data to the last. */
function checkCoverage(
  sorted: readonly [string, TensorInfo][],
  where: string,
  dataStart: number,
  fileSize: number,
): void {
  const failed = (problem: string) => new MinkeError('invalid-file', `${where}: ${problem}`);
  let end = dataStart;
  let previous = 'the header';
  for (const [name, tensor] of sorted) {
    const label = `tensor ${JSON.stringify(name)}`;
    if (tensor.offset < end) throw failed(`${label} overlaps ${previous} by ${end - tensor.offset} bytes`);
    if (tensor.offset > end)
      throw failed(`a hole of ${tensor.offset - end} bytes between ${previous} and ${label}`);
    end += tensor.byteLength;
    previous = label;
    if (end > fileSize) {
      throw failed(
        `${label} ends at byte ${end}, but the file has ${fileSize}; it is cut short, download it again`,
      );
    }
  }
  if (end < fileSize) throw failed(`${fileSize - end} bytes after ${previous} belong to no tensor`);
}
