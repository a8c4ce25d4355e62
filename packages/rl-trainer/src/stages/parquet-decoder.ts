/**
 * Rows of a Parquet file (https://parquet.apache.org/docs/file-format/), the form in which the Hub stores data sets, by
 * the library hyparquet, which is loaded with the first such file.
 *
 * What comes out is what the same row would be as a line of JSON: lists and structs as arrays and objects, whole numbers
 * as numbers where they are exact and as text where not, times as ISO 8601, and no entry where a value is null, as every
 * struct of a Parquet column has all of its fields. Read a group of rows at a time. Compressed by Snappy, gzip or brotli,
 * or by Zstandard where Node has it (22.15 and later); LZ4 and encrypted files are refused.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import * as zlib from 'node:zlib';
import { MinkeError } from '@minke/core';
import type { Compressors, FileMetaData, SchemaTree } from 'hyparquet';
import type { ParquetRow } from './parquet-rows.ts';
import { unsnappy } from './snappy.ts';

/** Most rows decoded together, whatever the size of the file's groups. */
const rowsAtOnce = 10_000;

/**
 * The rows of a file in order, up to 10,000 at a time.
 *
 * @throws MinkeError `invalid-file` for what is no Parquet file, is damaged or empty; `unsupported` for a compression
 * that cannot be read here. On some damaged pages the library never ends, so this runs in a thread of its own.
 */
export async function* decodeParquet(path: string): AsyncGenerator<readonly ParquetRow[]> {
  checkMagic(path);
  const { asyncBufferFromFile, parquetMetadataAsync, parquetRead, parquetReadObjects, parquetSchema } =
    await import('hyparquet');
  const whole = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      const found = (cause as Error).message.slice(0, 200);
      throw invalid(path, `a whole Parquet file, got a damaged one (${found}); fetch it again`, cause);
    }
  };
  const file = await whole(() => asyncBufferFromFile(path));
  const metadata = await whole(() => parquetMetadataAsync(file));
  checkCodecs(path, metadata);
  const schema = await whole(async () => parquetSchema(metadata));
  checkPaths(path, metadata, schema);
  const rows = Number(metadata.num_rows);
  if (!Number.isSafeInteger(rows) || rows < 1) throw invalid(path, `at least one row, got ${rows}`);
  for (let start = 0; start < rows; start += rowsAtOnce) {
    const rowEnd = Math.min(rows, start + rowsAtOnce);
    const options = { file, metadata, compressors: compressors(path), rowStart: start, rowEnd };
    // Of the parts of a nested column the library awaits the first that fails, and a second failure would end the
    // process; without a callback it awaits all of them, so what is damaged is found this way.
    await whole(() => parquetRead(options));
    const part = await whole(() => parquetReadObjects(options));
    if (part.length !== rowEnd - start)
      throw invalid(path, `${rowEnd - start} rows from row ${start + 1} on, got ${part.length}`);
    yield part.map((row) => plain(row) as ParquetRow);
  }
}

function invalid(path: string, expected: string, cause?: unknown): MinkeError {
  return new MinkeError('invalid-file', `${path}: expected ${expected}`, { cause });
}

const magic = 'PAR1';

/** A Parquet file begins and ends with four letters; that of an encrypted one are others. */
function checkMagic(path: string): void {
  const bytes = Buffer.alloc(4);
  try {
    const file = openSync(path, 'r');
    try {
      readSync(file, bytes, 0, 4, 0);
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw new MinkeError('invalid-file', `${path}: cannot be read: ${(cause as Error).message}`, { cause });
  }
  const found = bytes.toString('latin1');
  if (found === 'PARE')
    throw new MinkeError(
      'unsupported',
      `${path}: expected a Parquet file in clear, got an encrypted one; decrypt it`,
    );
  if (found !== magic)
    throw invalid(
      path,
      `a Parquet file, which begins with ${magic}, got ${JSON.stringify(found)}; name JSON lines .jsonl`,
    );
}

/** Since Node 22.15. */
const { zstdDecompressSync } = zlib as { readonly zstdDecompressSync?: (bytes: Uint8Array) => Buffer };

const readable = ['UNCOMPRESSED', 'SNAPPY', 'GZIP', 'BROTLI', ...(zstdDecompressSync ? ['ZSTD'] : [])];

function checkCodecs(path: string, { row_groups: groups }: FileMetaData): void {
  const codecs = groups.flatMap(({ columns }) => columns.flatMap(({ meta_data: data }) => data?.codec ?? []));
  const unknown = codecs.find((codec) => !readable.includes(codec));
  if (unknown !== undefined)
    throw new MinkeError(
      'unsupported',
      `${path}: expected a compression among ${readable.join(', ')}, got ${unknown}${unknown === 'ZSTD' ? ', which Node can read from 22.15 on' : ''}; write the file again with Snappy`,
    );
}

/** Throws where the file has a column that its schema has not. */
function checkPaths(path: string, { row_groups: groups }: FileMetaData, schema: SchemaTree): void {
  for (const { columns } of groups)
    for (const { meta_data: data } of columns) {
      if (data === undefined) throw invalid(path, 'columns with their metadata, got one without');
      let node: SchemaTree | undefined = schema;
      for (const name of data.path_in_schema)
        node = node?.children.find(({ element }) => element.name === name);
      if (node === undefined)
        throw invalid(path, `the columns of its schema, got ${data.path_in_schema.join('.').slice(0, 100)}`);
    }
}

/**
 * Decompressors, by codec; a page says how long it will be. Snappy's is ours, as the library's does not end on some
 * damaged bytes.
 */
function compressors(path: string): Compressors {
  const by =
    (decompress: (bytes: Uint8Array, options: { maxOutputLength: number }) => Buffer) =>
    (bytes: Uint8Array, length: number): Uint8Array => {
      const out = decompress(bytes, { maxOutputLength: Math.max(1, length) });
      if (out.length !== length) throw invalid(path, `a page of ${length} bytes, got ${out.length}`);
      return out;
    };
  return {
    SNAPPY: unsnappy,
    GZIP: by(zlib.gunzipSync),
    BROTLI: by(zlib.brotliDecompressSync),
    ...(zstdDecompressSync && { ZSTD: by(zstdDecompressSync) }),
  };
}

/** A value as JSON has it. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint')
    return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return Array.from(value as Uint8Array, plain);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, part]) => (part == null ? [] : [[name, plain(part)]])),
  );
}
