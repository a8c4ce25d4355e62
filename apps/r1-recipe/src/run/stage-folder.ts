/**
 * A stage's folder in a run: `stages/<name>-<first 12 digits of the key>/`.
 *
 * `stage.json` says what was started there, `done.json` that it ended and what its outputs hash to. The key is the
 * hash of all that a stage depends on: name, version of its code, settings, seed, and the contents of its inputs.
 */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import { doneFile, hashOf, outputHashes, startedFile } from './content-hash.ts';
import { isFull, readJson, writeJson } from './json-file.ts';
import type { Stage } from './stage.ts';

/** What a stage's key is made of. */
export interface KeyParts {
  readonly stage: string;
  readonly version: number;
  readonly settings: unknown;
  readonly seed: number;
  /** Hash of the outputs behind each input. */
  readonly inputs: Readonly<Record<string, string>>;
}

/** `stage.json`. */
export interface StartedRecord extends KeyParts {
  readonly key: string;
  /** When, in ISO 8601. */
  readonly started: string;
  /** The command that started it. */
  readonly command: string;
  /** Spent so far, over all processes that worked on it. */
  readonly seconds: number;
  /** Seconds of named parts, such as `evaluation`. */
  readonly parts: Readonly<Record<string, number>>;
}

/** `done.json`. */
export interface DoneRecord extends StartedRecord {
  readonly finished: string;
  /** SHA-256 by path. */
  readonly outputs: Readonly<Record<string, string>>;
  /** Of all outputs together: what dependents' keys are made of. */
  readonly hash: string;
}

export function keyParts(stage: Stage, seed: number, inputs: Readonly<Record<string, string>>): KeyParts {
  return { stage: stage.name, version: stage.version, settings: stage.settings, seed, inputs };
}

export class StageFolder {
  readonly path: string;
  readonly parts: KeyParts;
  readonly key: string;

  constructor(run: string, parts: KeyParts) {
    this.parts = parts;
    this.key = hashOf(parts);
    this.path = join(run, 'stages', `${parts.stage}-${this.key.slice(0, 12)}`);
  }

  /** The record of a complete run, or undefined. Throws `invalid-file` when it is damaged or of something else. */
  done(): DoneRecord | undefined {
    const path = join(this.path, doneFile);
    const record = readJson(path, this.#advice) as DoneRecord | undefined;
    if (record === undefined) return undefined;
    this.#own(path, record.key);
    const { hash, outputs, seconds } = record;
    const whole = typeof outputs === 'object' && outputs !== null && hash === hashOf(outputs);
    if (!whole || typeof seconds !== 'number')
      throw new MinkeError(
        'invalid-file',
        `${path}: expected hashes of the outputs that agree with their sum, got others; ${this.#advice}`,
      );
    return record;
  }

  /** Throws `invalid-file` unless the outputs are those of the record. */
  verify(record: DoneRecord): void {
    const found = outputHashes(this.path);
    const names = new Set([...Object.keys(record.outputs), ...Object.keys(found)]);
    const changed = [...names].sort().filter((name) => found[name] !== record.outputs[name]);
    if (changed.length === 0) return;
    const more = changed.length > 3 ? ` and ${changed.length - 3} more` : '';
    throw new MinkeError(
      'invalid-file',
      `${this.path}: expected the outputs that ${doneFile} lists, got changed or missing ${changed.slice(0, 3).join(', ')}${more}; ${this.#advice}`,
    );
  }

  /** What was started here, or undefined. Throws `invalid-file` when it is damaged or of something else. */
  started(): StartedRecord | undefined {
    const path = join(this.path, startedFile);
    const record = readJson(path, this.#advice) as StartedRecord | undefined;
    if (record !== undefined) this.#own(path, record.key);
    return record;
  }

  start(record: StartedRecord): void {
    mkdirSync(this.path, { recursive: true });
    writeJson(join(this.path, startedFile), record);
  }

  /** Writes the time that was spent so far; not where there is no room for it. */
  note(record: StartedRecord): void {
    try {
      this.start(record);
    } catch (problem) {
      if (!isFull(problem)) throw problem;
    }
  }

  /** Removes what a killed process left under temporary names. */
  tidy(): void {
    if (!existsSync(this.path)) return;
    for (const entry of readdirSync(this.path, { recursive: true, withFileTypes: true }))
      if (entry.name.endsWith('.tmp'))
        rmSync(join(entry.parentPath, entry.name), { recursive: true, force: true });
  }

  /** Hashes the outputs and marks the stage as done. */
  finish(record: StartedRecord): DoneRecord {
    const outputs = outputHashes(this.path);
    const finished = new Date().toISOString();
    const done: DoneRecord = { ...record, finished, outputs, hash: hashOf(outputs) };
    writeJson(join(this.path, startedFile), record);
    writeJson(join(this.path, doneFile), done);
    return done;
  }

  /** Forgets what is here. The record goes first, so that a kill half-way leaves nothing that looks done. */
  clear(): void {
    rmSync(join(this.path, doneFile), { force: true });
    rmSync(this.path, { recursive: true, force: true });
  }

  get #advice(): string {
    return `run the stage afresh with --force ${this.parts.stage}, or remove ${this.path}`;
  }

  #own(path: string, key: unknown): void {
    if (key === this.key) return;
    throw new MinkeError(
      'invalid-file',
      `${path}: expected key ${this.key}, got ${JSON.stringify(key)}: the folder is of another recipe; ${this.#advice}`,
    );
  }
}

/** Why a stage that was never run with these parts has to run: what differs from its newest earlier run. */
export function whatChanged(run: string, parts: KeyParts): string {
  const before = earlierRuns(run, parts.stage);
  if (before === undefined) return 'never ran';
  const changed: string[] = [];
  if (before.version !== parts.version) changed.push(`version ${before.version} to ${parts.version}`);
  const settings = differingNames(before.settings, parts.settings);
  if (settings.length > 0) changed.push(`settings (${settings.join(', ')})`);
  const inputs = differingNames(before.inputs, parts.inputs);
  if (inputs.length > 0) changed.push(`input ${inputs.join(', ')}`);
  return changed.length === 0 ? 'never ran' : `changed: ${changed.join('; ')}`;
}

function earlierRuns(run: string, name: string): StartedRecord | undefined {
  const stages = join(run, 'stages');
  if (!existsSync(stages)) return undefined;
  const records = readdirSync(stages)
    .filter((folder) => folder.startsWith(`${name}-`) && /^[0-9a-f]{12}$/.test(folder.slice(name.length + 1)))
    .flatMap((folder) => {
      const path = join(stages, folder, startedFile);
      return (readJson(path, `remove ${join(stages, folder)}`) as StartedRecord | undefined) ?? [];
    });
  return records.sort((a, b) => (a.started < b.started ? 1 : -1))[0];
}

function differingNames(a: unknown, b: unknown): string[] {
  if (hashOf(a) === hashOf(b)) return [];
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isRecord(a) || !isRecord(b)) return ['value'];
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].filter((name) => hashOf(a[name] ?? null) !== hashOf(b[name] ?? null));
}
