/**
 * Reading JSON lines from untrusted files: a stream of bytes in, one object a line out, in bounded memory.
 *
 * A line longer than the limit is refused while it is being read, so a file without newlines never fills memory.
 * Every error names the line. UTF-8 is checked strictly (a file of mixed encodings is found at its first bad line, not
 * read with replacement characters); UTF-16 is recognised and named. Blank lines and a byte order mark are skipped.
 */
import { MinkeError } from '@minke/core';

/** Bytes in pieces of any size: a Node stream, a web stream, an array. Texts count as their UTF-8. */
export type ByteChunks =
  | AsyncIterable<Uint8Array | string>
  | Iterable<Uint8Array | string>
  | ReadableStream<Uint8Array>;

/** Bounds and names of a file. */
export interface JsonLinesOptions {
  /** Longest line in bytes. Default 16 MiB. */
  readonly maxLineBytes?: number;
  /** What to call the file in errors. Default `input`. */
  readonly name?: string;
}

/** One line's object. */
export interface JsonLine {
  /** Counted from 1, blank lines too. */
  readonly line: number;
  readonly value: Readonly<Record<string, unknown>>;
}

/** Builds the error of a line. */
export function lineError(name: string, line: number, message: string): MinkeError {
  return new MinkeError('invalid-file', `${name}: line ${line}: ${message}`, { details: { line } });
}

async function* chunksOf(source: ByteChunks): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  if ('getReader' in source && !(Symbol.asyncIterator in source)) {
    const reader = (source as ReadableStream<Uint8Array>).getReader();
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
    } finally {
      await reader.cancel();
    }
    return;
  }
  for await (const chunk of source as AsyncIterable<Uint8Array | string>)
    yield typeof chunk === 'string' ? encoder.encode(chunk) : chunk;
}

function joined(pieces: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** The lines of a stream as bytes, without their newline. */
async function* linesOf(
  source: ByteChunks,
  maxLineBytes: number,
  name: string,
): AsyncGenerator<{ line: number; bytes: Uint8Array }> {
  let pieces: Uint8Array[] = [];
  let [size, line] = [0, 1];
  const take = (piece: Uint8Array) => {
    size += piece.length;
    if (size > maxLineBytes)
      throw lineError(
        name,
        line,
        `expected at most ${maxLineBytes} bytes, got more; is it one JSON object a line? Else raise maxLineBytes`,
      );
    if (piece.length > 0) pieces.push(piece);
  };
  for await (const chunk of chunksOf(source)) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      take(chunk.subarray(from, end));
      yield { line, bytes: joined(pieces, size) };
      pieces = [];
      size = 0;
      line++;
      from = end + 1;
    }
    // A copy, as the source may use its buffer again.
    take(chunk.slice(from));
  }
  if (size > 0) yield { line, bytes: joined(pieces, size) };
}

function decode(bytes: Uint8Array, name: string, line: number): string {
  if (line === 1 && ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)))
    throw lineError(name, line, 'expected UTF-8, got UTF-16; convert the file to UTF-8');
  if (bytes.includes(0))
    throw lineError(name, line, 'expected UTF-8 text, got a zero byte; convert the file to UTF-8');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: line !== 1 }).decode(bytes);
  } catch {
    throw lineError(
      name,
      line,
      'expected UTF-8, got bytes that are none (Latin-1 or Windows-1252?); convert the file to UTF-8',
    );
  }
}

function parse(text: string, name: string, line: number): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw lineError(
      name,
      line,
      `expected one JSON object, got bad JSON (${(cause as Error).message.slice(0, 160)})`,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw lineError(
      name,
      line,
      `expected a JSON object, got ${Array.isArray(value) ? 'a list' : value === null ? 'null' : `a ${typeof value}`}; put one row on each line`,
    );
  return value as Record<string, unknown>;
}

/**
 * The objects of a JSON lines file, in order, as the bytes arrive.
 *
 * @throws MinkeError `invalid-file` with the line for bad JSON, bad UTF-8, a line that is too long or no object, and
 * for a file without rows.
 * @example
 * for await (const { line, value } of readJsonLines(createReadStream('rows.jsonl'))) console.log(line, value);
 */
export async function* readJsonLines(
  source: ByteChunks,
  options: JsonLinesOptions = {},
): AsyncGenerator<JsonLine> {
  const { maxLineBytes = 16 * 1024 * 1024, name = 'input' } = options;
  let rows = 0;
  for await (const { line, bytes } of linesOf(source, maxLineBytes, name)) {
    const text = decode(bytes, name, line);
    if (text.trim() === '') continue;
    rows++;
    yield { line, value: parse(text, name, line) };
  }
  if (rows === 0)
    throw new MinkeError(
      'invalid-file',
      `${name}: expected at least one row, got an empty file; check the path`,
    );
}

/** JSON lines of any rows, one newline after each. */
export function* toLines(rows: Iterable<object>): Generator<string> {
  for (const row of rows) yield `${JSON.stringify(row)}\n`;
}
