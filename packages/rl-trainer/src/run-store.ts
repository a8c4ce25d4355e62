/**
 * A run's folder on disk: atomic checkpoints, and where its logs are.
 *
 * A checkpoint is a folder, written under a temporary name, flushed, and renamed, so a kill at any moment leaves the
 * last complete one, and so does a full disk. What is in it is the stage's business: what its
 * learner saves, and a state of step, data position and lengths of logs.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, writeSafetensors } from '@minke/checkpoints';
import { flush } from '@minke/checkpoints/files';
import { MinkeError } from '@minke/core';
import { unwritten } from './atomic-file.ts';

/** Everything besides tensors. Plain JSON. */
export interface TrainerState {
  readonly stage: string;
  /** Optimiser steps taken. */
  readonly step: number;
  readonly source: unknown;
  readonly metricsBytes: number;
  /** Where the stage logs samples. */
  readonly samplesBytes?: number;
  readonly tokens: number;
  /** The stage's configuration; a resumed run must have the same. */
  readonly config: unknown;
}

/** A complete checkpoint on disk. */
export interface Checkpoint<State> {
  readonly step: number;
  readonly state: State;
  /** What the stage wrote is here, beside `trainer.json`. */
  readonly folder: string;
}

const pattern = /^step-(\d{7})$/;

export class RunStore {
  readonly folder: string;
  readonly #keep: number;

  /**
   * What a kill left half written or half removed goes away.
   *
   * @param folder made if missing, used by this process alone; @param keep newest checkpoints that stay
   */
  constructor(folder: string, keep = 2) {
    this.folder = folder;
    this.#keep = keep;
    mkdirSync(this.#checkpoints, { recursive: true });
    for (const name of readdirSync(this.#checkpoints))
      if (name.endsWith('.tmp')) rmSync(join(this.#checkpoints, name), { recursive: true, force: true });
    this.#removeOld();
  }

  get metricsPath(): string {
    return join(this.folder, 'metrics.jsonl');
  }

  get samplesPath(): string {
    return join(this.folder, 'samples.jsonl');
  }

  /** Steps of complete checkpoints, oldest first. */
  steps(): number[] {
    return readdirSync(this.#checkpoints)
      .map((name) => pattern.exec(name)?.[1])
      .filter((step) => step !== undefined)
      .map(Number)
      .sort((a, b) => a - b);
  }

  /**
   * Writes one checkpoint: `state` as `trainer.json`, and whatever `write` puts into the folder it is given. Older
   * ones beyond the number to keep are removed afterwards. When it fails, nothing of it stays and those before do.
   */
  async commit(step: number, state: unknown, write: (folder: string) => Promise<void>): Promise<void> {
    const target = this.#folder(step);
    const temporary = `${target}.tmp`;
    try {
      rmSync(temporary, { recursive: true, force: true });
      mkdirSync(temporary);
      await write(temporary);
      writeFileSync(join(temporary, 'trainer.json'), `${JSON.stringify(state, null, 2)}\n`);
      flush(join(temporary, 'trainer.json'));
      flush(temporary);
      rmSync(target, { recursive: true, force: true });
      renameSync(temporary, target);
    } catch (cause) {
      rmSync(temporary, { recursive: true, force: true });
      throw unwritten(target, cause);
    }
    flush(this.#checkpoints);
    this.#removeOld();
  }

  /** The newest complete checkpoint, or undefined for a fresh run. Throws `invalid-file` for a damaged one. */
  latest<State>(): Checkpoint<State> | undefined {
    const step = this.steps().at(-1);
    if (step === undefined) return undefined;
    const folder = this.#folder(step);
    const path = join(folder, 'trainer.json');
    try {
      return { step, folder, state: JSON.parse(readFileSync(path, 'utf8')) as State };
    } catch (cause) {
      throw new MinkeError(
        'invalid-file',
        `${path}: expected the trainer's state, got ${(cause as Error).message}; remove ${folder} to go back to the checkpoint before`,
        { cause },
      );
    }
  }

  /** A checkpoint loses its name before its files, so that one half removed never looks complete. */
  #removeOld(): void {
    for (const old of this.steps().slice(0, -this.#keep)) {
      const gone = `${this.#folder(old)}.tmp`;
      renameSync(this.#folder(old), gone);
      rmSync(gone, { recursive: true, force: true });
    }
  }

  get #checkpoints(): string {
    return join(this.folder, 'checkpoints');
  }

  #folder(step: number): string {
    return join(this.#checkpoints, `step-${String(step).padStart(7, '0')}`);
  }
}

/** Tensors on the host by name. */
export type HostTensors = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;

/** Host tensors as a file of f32. */
export async function writeTensors(path: string, tensors: HostTensors): Promise<void> {
  const entries = [...tensors].map(
    ([name, { shape, data }]) => [name, { dtype: 'F32' as const, shape, data }] as const,
  );
  await writeSafetensors(path, new Map(entries));
}

/** All tensors of a file, in f32, by name. */
export async function readTensors(path: string): Promise<Map<string, Float32Array>> {
  const file = await openSafetensors(path);
  try {
    const tensors = new Map<string, Float32Array>();
    for (const name of file.tensors.keys()) tensors.set(name, await file.readFloat32(name));
    return tensors;
  } finally {
    await file.close();
  }
}
