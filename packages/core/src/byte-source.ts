/**
 * Random access to the bytes of a file that may be far larger than memory.
 *
 * Weights are read by positional reads, never by memory mapping: Node has no mmap, and a file truncated under
 * a mapping would kill the process, while here it is an ordinary error. `fileSource` imports Node's file
 * system lazily, so that this module also loads in a browser (where only `memorySource` works).
 */
import { check, MinkeError } from './errors.ts';

/** Bytes that can be read at any offset. Reads may overlap in time. */
export interface ByteSource {
  /** Total number of bytes, fixed when the source was opened. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`; the array belongs to the caller.
   *
   * @throws MinkeError 'invalid-argument' outside [0, size]; 'invalid-file' if the file was changed since it was opened.
   */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Releases the file; a second call does nothing. Reads after it fail. */
  close(): Promise<void>;
}

function checkRange(where: string, offset: number, length: number, size: number): void {
  check(
    Number.isSafeInteger(offset) &&
      Number.isSafeInteger(length) &&
      offset >= 0 &&
      length >= 0 &&
      offset + length <= size,
    () => `${where}: expected a range within ${size} bytes, got offset ${offset} and length ${length}`,
  );
}

/**
 * A source over bytes already in memory, which must not change while it is in use.
 *
 * @example
 * const source = memorySource(new Uint8Array([1, 2, 3]));
 * await source.read(1, 2); // Uint8Array [2, 3]
 */
export function memorySource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.byteLength,
    async read(offset, length) {
      checkRange('memorySource', offset, length, bytes.byteLength);
      return new Uint8Array(bytes.subarray(offset, offset + length));
    },
    async close() {},
  };
}

/** Largest single request: Node's reads take a 32-bit length. */
const maxReadBytes = 1 << 30;

/**
 * Opens a regular file for positional reads. Node only.
 *
 * @throws MinkeError 'invalid-file' if there is no such file, it cannot be read, or it is not a regular file.
 * @example
 * const source = await fileSource('model.safetensors');
 * const header = await source.read(0, 8);
 * await source.close();
 */
export async function fileSource(path: string): Promise<ByteSource> {
  // Not an import: bundlers for browsers would follow it.
  const { open, stat } = process.getBuiltinModule('node:fs/promises');
  const failed = (reason: string, cause?: unknown) =>
    new MinkeError('invalid-file', `fileSource: cannot read ${path}: ${reason}`, {
      cause,
      details: { path },
    });
  // Looked at before opening: to open a named pipe would wait for a writer.
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw failed(cause.code === 'ENOENT' ? 'there is no such file' : cause.message, cause);
  });
  if (!found.isFile()) throw failed(found.isDirectory() ? 'it is a folder' : 'it is not a regular file');
  const file = await open(path, 'r').catch((cause: Error) => {
    throw failed(cause.message, cause);
  });
  const { size, mtimeMs } = await file.stat();
  let closed: Promise<void> | undefined;
  return {
    size,
    async read(offset, length) {
      checkRange(`fileSource(${path})`, offset, length, size);
      check(closed === undefined, () => `fileSource: ${path} is closed; open it again to read`);
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const wanted = Math.min(length - filled, maxReadBytes);
        const { bytesRead } = await file
          .read(bytes, filled, wanted, offset + filled)
          .catch((cause: Error) => {
            throw failed(`reading ${length} bytes at ${offset}: ${cause.message}`, cause);
          });
        if (bytesRead === 0) {
          throw failed(
            `expected ${length} bytes at offset ${offset}, got ${filled}: it was cut short while open`,
          );
        }
        filled += bytesRead;
      }
      // What another process writes meanwhile would be parts of two files.
      const now = await file.stat();
      if (now.size !== size || now.mtimeMs !== mtimeMs)
        throw failed('it was changed while open; open it again once nothing writes to it');
      return bytes;
    },
    async close() {
      await (closed ??= file.close());
    },
  };
}
