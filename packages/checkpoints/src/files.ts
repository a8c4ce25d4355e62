/**
 * The small files beside checkpoints. Written whole or not at all: under a temporary name, flushed, renamed, so that a
 * kill at any moment leaves the old content or the new one, and so does a full disk (synchronous). Read within a bound.
 * Node only.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileSource, MinkeError } from '@minke/core';

/**
 * Replaces the file of text at `path`. Throws what the file system says, and then the old content stays.
 *
 * @example
 * replaceFile('run/state.json', JSON.stringify(state));
 */
export function replaceFile(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  try {
    writeFileSync(temporary, text);
    flush(temporary);
    renameSync(temporary, path);
  } catch (problem) {
    rmSync(temporary, { force: true });
    throw problem;
  }
  flush(dirname(path));
}

/** Makes a file's content, or the names in a folder, survive a loss of power. */
export function flush(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/**
 * The text of a file, UTF-8, of at most `most` bytes.
 *
 * @throws MinkeError 'invalid-file' for a longer one, for what is not a regular file, and for other text; where there is
 * none, the error's `cause` has the code ENOENT.
 * @example
 * const config = JSON.parse(await readText('model/config.json', 16e6));
 */
export async function readText(path: string, most: number): Promise<string> {
  const source = await fileSource(path);
  try {
    if (source.size > most)
      throw new MinkeError(
        'invalid-file',
        `readText: expected at most ${most} bytes in ${path}, got ${source.size}; this is not the file its name says`,
      );
    const bytes = await source.read(0, source.size);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (MinkeError.isInstance(cause)) throw cause;
    throw new MinkeError('invalid-file', `readText: expected UTF-8 in ${path}, got other bytes`, { cause });
  } finally {
    await source.close();
  }
}
