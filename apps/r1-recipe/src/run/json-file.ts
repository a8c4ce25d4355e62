/** Small JSON files that are whole or not there, whenever the process dies. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { replaceFile } from '@minke/checkpoints/files';
import { MinkeError } from '@minke/core';

/** Replaces the file at `path`. Throws what the file system says, and then the old content stays. */
export function writeJson(path: string, value: unknown): void {
  replaceFile(path, `${JSON.stringify(value, null, 2)}\n`);
}

/**
 * Replaces a file for watchers, which is rewritten many times a minute: it may be lost with the power, and stays as it
 * was where there is no room, so that a run ends for what it could not write and not for what it could not show.
 */
export function writeJsonQuickly(path: string, value: unknown): void {
  try {
    writeFileSync(`${path}.tmp`, `${JSON.stringify(value)}\n`);
    renameSync(`${path}.tmp`, path);
  } catch (problem) {
    if (!isFull(problem)) throw problem;
    rmSync(`${path}.tmp`, { force: true });
  }
}

/** Whether the file system said that there is no room: a full disk, a quota, a limit on the size of files. */
export function isFull(problem: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes((problem as NodeJS.ErrnoException | null)?.code ?? '');
}

/**
 * The object in a JSON file, or undefined where there is no file.
 * Throws `invalid-file` for anything else; `advice` says what to do then.
 */
export function readJson(path: string, advice: string): Record<string, unknown> | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (problem) {
    if ((problem as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw problem;
  }
  const damaged = (got: string, cause?: unknown): never => {
    throw new MinkeError('invalid-file', `${path}: expected a JSON object, got ${got}; ${advice}`, { cause });
  };
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch (cause) {
    damaged(text === '' ? 'an empty file' : (cause as Error).message, cause);
  }
  return damaged(text.slice(0, 40));
}
