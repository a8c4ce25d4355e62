/**
 * Options that several commands share, and their checks.
 */
import type { Backend } from '@minke/core';
import { auto, type BackendName, createBackend } from '@minke/gpu-backends';
import { modelFolder } from '@minke/tiny-reasoner';
import { type Command, InvalidArgumentError, Option } from 'commander';

export interface BackendOptions {
  readonly backend?: BackendName;
  readonly threads?: number;
}

/** The embedded model's folder, for commands without a folder argument. */
export const embeddedModel: string = modelFolder;

export function addBackendOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--backend <name>', 'compute backend; default: the fastest here').choices([
        'native',
        'wasm',
        'reference',
      ]),
    )
    .option('--threads <n>', 'compute threads', positiveInteger);
}

/** The backend asked for, or the fastest. */
export function openBackend({ backend, threads }: BackendOptions): Promise<Backend> {
  const options = threads === undefined ? {} : { threads };
  return backend === undefined ? auto(options) : createBackend(backend, options);
}

export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('expected a positive integer.');
  return value;
}

export function nonNegativeInteger(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError('expected 0 or a positive integer.');
  return value;
}

export function nonNegativeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('expected a number of at least 0.');
  return value;
}

/** An AbortSignal for the first Ctrl-C; the second ends the process with 130. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  process.on('SIGINT', () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  });
  return controller.signal;
}

/** Prints one JSON object to stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
