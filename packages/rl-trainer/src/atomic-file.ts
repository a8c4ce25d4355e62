/**
 * Files that are whole or not there: written under a temporary name, flushed, renamed, so that a kill at any
 * moment leaves the old content or the new one.
 */
import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Replaces the file at `path`. Throws what the file system says, and then the old content stays. */
export function writeAtomically(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  writeFileSync(temporary, text);
  flush(temporary);
  renameSync(temporary, path);
  flush(dirname(path));
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
