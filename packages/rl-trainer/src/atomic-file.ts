/** What a trainer says when a file of its run cannot be written: what stood there before stays. */
import { replaceFile } from '@minke/checkpoints/files';
import { MinkeError } from '@minke/core';

/** Replaces the file at `path`. Throws `out-of-memory` where it cannot be written; then the old content stays. */
export function writeAtomically(path: string, text: string): void {
  try {
    replaceFile(path, text);
  } catch (cause) {
    throw unwritten(path, cause);
  }
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
