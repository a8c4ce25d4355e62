/** The JSON files that stages leave for the report, found by name. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';

/** Files of a name in a folder and the folders inside it, by path. */
export function filesNamed(folder: string, name: string, depth = 0): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isFile()) return entry.name === name ? [path] : [];
      return entry.isDirectory() && entry.name !== 'checkpoints' && depth < 3
        ? filesNamed(path, name, depth + 1)
        : [];
    });
}

/** What a JSON file says. Throws `invalid-file`. */
export function parseFile(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (problem) {
    throw damaged(path, `JSON (${(problem as Error).message})`);
  }
}

/** A file of a stage that is not what it should be. */
export function damaged(path: string, expected: string): MinkeError {
  return new MinkeError(
    'invalid-file',
    `${path}: expected ${expected}, got something else; run its stage afresh with --force`,
  );
}

/** True for what JSON can hold of numbers. */
export function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}
