/**
 * Files that are whole or not there: written under a temporary name, flushed, renamed, so that a kill at any
 * moment leaves the old content or the new one, and so does a full disk.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { MinkeError } from '@minke/core';

/** Replaces the file at `path`. Throws `out-of-memory` where it cannot be written; then the old content stays. */
export function writeAtomically(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  try {
    writeFileSync(temporary, text);
    flush(temporary);
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw unwritten(path, cause);
  }
  flush(dirname(path));
}

/** The error for what could not be written: a full disk, a quota, a limit on the size of files. */
export function unwritten(path: string, cause: unknown): MinkeError {
  if (MinkeError.isInstance(cause)) return cause;
  return new MinkeError(
    'out-of-memory',
    `${path}: expected to write it, got ${(cause as Error).message}; make room and start the run again, it continues from its last checkpoint`,
    { cause },
  );
}

/** Makes a file or a folder's names survive a loss of power. */
export function flush(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
