/**
 * Names for content: the hash of a value as JSON, and of a folder's files.
 *
 * A folder's hash covers what other stages may read. Checkpoints are a stage's own business and metrics have
 * wall-clock figures, so neither counts, nor do the files of the runner and of the report: two runs that learnt the same
 * are the same.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** Files of the runner in a stage's folder. */
export const startedFile = 'stage.json';
export const doneFile = 'done.json';

/** The model card, which the report puts beside the final model: what a stage made is not changed by it. */
export const cardFile = 'model/README.md';

/** JSON with sorted names, so that equal values have equal texts. Throws for what JSON cannot say. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(sorted(value, '$'));
}

function sorted(value: unknown, path: string): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') {
    if (Number.isFinite(value)) return value;
    throw new TypeError(`${value} at ${path}`);
  }
  if (Array.isArray(value)) return value.map((entry, i) => sorted(entry, `${path}[${i}]`));
  const plain = typeof value === 'object' && [Object.prototype, null].includes(Object.getPrototypeOf(value));
  if (!plain) throw new TypeError(`${typeof value} at ${path}`);
  return Object.fromEntries(
    Object.entries(value as Record<string, unknown>)
      .filter(([, entry]) => entry !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, entry]) => [name, sorted(entry, `${path}.${name}`)]),
  );
}

/** SHA-256 of a value, in hex. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}

/** SHA-256 of each output in a stage's folder, by its path with slashes, sorted. */
export function outputHashes(folder: string): Record<string, string> {
  const paths = outputPaths(folder, '').sort((a, b) => (a < b ? -1 : 1));
  return Object.fromEntries(paths.map((path) => [path, hashOfFile(join(folder, path))]));
}

function outputPaths(folder: string, prefix: string): string[] {
  return readdirSync(join(folder, prefix), { withFileTypes: true }).flatMap((entry) => {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (entry.name.endsWith('.tmp') || [startedFile, doneFile, cardFile].includes(path)) return [];
    if (entry.isDirectory()) return entry.name === 'checkpoints' ? [] : outputPaths(folder, path);
    return entry.name === 'metrics.jsonl' ? [] : [path];
  });
}

function hashOfFile(path: string): string {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(1 << 20);
  const file = openSync(path, 'r');
  try {
    for (let n = readSync(file, buffer); n > 0; n = readSync(file, buffer))
      hash.update(buffer.subarray(0, n));
  } finally {
    closeSync(file);
  }
  return hash.digest('hex');
}
