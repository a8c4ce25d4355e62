/**
 * Options that several commands share, and how their values are read. A wrong value ends the program with one
 * line that says what was expected (exit code 2).
 */
import { existsSync } from 'node:fs';
import type { Backend } from '@minke/core';
import { auto, type BackendName, createBackend } from '@minke/gpu-backends';
import { modelFolder } from '@minke/tiny-reasoner';
import { InvalidArgumentError, Option } from 'commander';
import { UsageError } from './failure.ts';

const backendNames: readonly BackendName[] = ['native', 'wasm', 'reference'];

/** What `--backend` and `--threads` were set to. */
export interface BackendOptions {
  readonly backend?: BackendName;
  readonly threads?: number;
}

export const backendOption = () =>
  new Option('--backend <name>', 'what computes; default: the fastest here').choices(backendNames);
export const threadsOption = () =>
  new Option('--threads <count>', 'threads of the native backend').argParser(wholeNumber(1, 256));

/** The backend the options ask for, else the fastest that runs here. Dispose of it after use. */
export function openBackend({ backend, threads }: BackendOptions): Promise<Backend> {
  const options = threads === undefined ? {} : { threads };
  return backend === undefined ? auto(options) : createBackend(backend, options);
}

/** A reader of whole numbers from `least` to `most`. */
export function wholeNumber(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^[+-]?\d+$/.test(text.trim()) && value >= least && value <= most) return value;
    const bound = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
    throw new InvalidArgumentError(`expected a whole number ${bound}.`);
  };
}

/** A reader of numbers from `least` to `most`. */
export function realNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`expected a number from ${least} to ${most}.`);
  };
}

/** Reads `5,9,2`. */
export function idList(text: string): number[] {
  const ids = text.split(',').map((part) => (/^\s*\d{1,9}\s*$/.test(part) ? Number(part) : Number.NaN));
  if (ids.some(Number.isNaN)) throw new InvalidArgumentError('expected token ids such as 5,9,2.');
  return ids;
}

/** The folder given, or the embedded model's. Throws `UsageError` for a folder that does not exist. */
export function modelOrEmbedded(folder: string | undefined): string {
  const chosen = folder ?? modelFolder;
  if (existsSync(chosen)) return chosen;
  throw new UsageError(
    folder === undefined
      ? `this installation has no embedded model in ${chosen}; name the folder of a model`
      : `expected a model folder, but ${folder} does not exist`,
  );
}
