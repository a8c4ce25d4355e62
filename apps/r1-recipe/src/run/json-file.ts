/**
 * Small JSON files that are whole or not there: written under a temporary name, flushed, renamed, so that a kill at
 * any moment leaves the old content or the new one.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { MinkeError } from '@minke/core';

/** Replaces the file at `path`. Throws what the file system says, and then the old content stays. */
export function writeJson(path: string, value: unknown): void {
  writeWhole(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** Replaces a file of text, likewise. */
export function writeWhole(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  writeFileSync(temporary, text);
  flush(temporary);
  renameSync(temporary, path);
  flush(dirname(path));
}

/** Replaces a file that may be lost with the power but never seen half: for what is rewritten many times a minute. */
export function writeJsonQuickly(path: string, value: unknown): void {
  writeFileSync(`${path}.tmp`, `${JSON.stringify(value)}\n`);
  renameSync(`${path}.tmp`, path);
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

function flush(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
