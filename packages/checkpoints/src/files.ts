/**
 * Small files that are whole or not there: written under a temporary name, flushed, renamed, so that a kill at any
 * moment leaves the old content or the new one, and so does a full disk. Node only, synchronous: for the state that
 * stands beside checkpoints.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

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
