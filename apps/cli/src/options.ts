/**
 * Options that several commands share, and their checks.
 */

import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { resolveModelPath } from '@minke/checkpoints/model-path';
import type { Backend } from '@minke/core';
import { auto, type BackendName, createBackend } from '@minke/gpu-backends';
import { cacheTypes } from '@minke/mla-attention';
import { modelFolder } from '@minke/tiny-reasoner';
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';

export interface BackendOptions {
  readonly backend?: BackendName;
  readonly threads?: number;
}

/**
 * The model of a command: a path, or the hub id of a model in the cache, which the action gets as its folder there;
 * the embedded model's where none is named. Ends the program with exit code 2 when there is none.
 */
export function addModelArgument(
  command: Command,
  what = 'model folder (config.json, safetensors, tokenizer.json), or a .gguf file (or a folder of one)',
): Command {
  return command
    .addArgument(
      new Argument('[model]', `${what}, or the hub id of a model that "minke pull" fetched`).default(
        modelFolder,
        'the embedded model',
      ),
    )
    .hook('preAction', (_, acting) => {
      const [named] = acting.processedArgs as [string];
      try {
        acting.processedArgs[0] = resolveModelPath(named);
      } catch (problem) {
        acting.error(`error: ${(problem as Error).message}`);
      }
      if (existsSync(acting.processedArgs[0])) return;
      acting.error(
        named === modelFolder
          ? `error: this installation has no embedded model in ${named}; name a model folder`
          : `error: expected a model folder or a .gguf file, but ${named} does not exist`,
      );
    });
}

export function addBackendOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--backend <name>', 'compute backend; default: the fastest here').choices([
        'native',
        'wasm',
        'webgpu',
        'reference',
      ]),
    )
    .option('--threads <n>', 'compute threads', positiveInteger);
}

/** Adds `--quantize`, for commands that generate. */
export function addQuantizeOption(command: Command): Command {
  return command.addOption(
    new Option(
      '--quantize <type>',
      'compute from weights rounded to 8 or 4 bits: less to read, slightly wrong; default: exact',
    ).choices(['q8_0', 'q4_0']),
  );
}

/** Adds `--cache-type`, for commands that generate. */
export function addCacheTypeOption(command: Command): Command {
  return command.addOption(
    new Option(
      '--cache-type <type>',
      'how past tokens are stored; bf16 and q8_0 are smaller and slightly wrong; default: f32',
    ).choices(cacheTypes),
  );
}

/** The backend asked for, or the fastest. */
export function openBackend({ backend, threads }: BackendOptions): Promise<Backend> {
  const options = threads === undefined ? {} : { threads };
  return backend === undefined ? auto(options) : createBackend(backend, options);
}

/** Says on stderr what computes and why, before hours are spent on it. */
export function announce({ info: { name, device, threads, reason } }: Backend): void {
  const on = `${threads} thread${threads === 1 ? '' : 's'}`;
  process.stderr.write(`computes on ${name} (${device}), ${on}: ${reason}\n`);
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

/** An AbortSignal for the first Ctrl-C or SIGTERM; the second ends the process with 130. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  // Every answer of a batch listens to it.
  setMaxListeners(0, controller.signal);
  const interrupt = () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  return controller.signal;
}

/** Prints one JSON object to stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
