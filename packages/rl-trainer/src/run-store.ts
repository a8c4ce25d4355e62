/**
 * A run's folder on disk: atomic checkpoints and the metrics file.
 *
 * A checkpoint is written under a temporary name, flushed, and renamed, so a kill at any moment leaves the
 * last complete one. It holds every bit of state: parameters, optimiser moments, step, data position, and how
 * long the metrics file was.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, writeSafetensors } from '@minke/checkpoints';
import { MinkeError } from '@minke/core';

/** Everything besides tensors. Plain JSON. */
export interface TrainerState {
  readonly stage: string;
  /** Optimiser steps taken. */
  readonly step: number;
  readonly source: unknown;
  readonly metricsBytes: number;
  readonly tokens: number;
  /** The stage's configuration; a resumed run must have the same. */
  readonly config: unknown;
}

const pattern = /^step-(\d{7})$/;

export class RunStore {
  readonly folder: string;
  readonly #keep: number;

  /** @param folder made if missing; @param keep newest checkpoints that stay */
  constructor(folder: string, keep = 2) {
    this.folder = folder;
    this.#keep = keep;
    mkdirSync(this.#checkpoints, { recursive: true });
  }

  get metricsPath(): string {
    return join(this.folder, 'metrics.jsonl');
  }

  /** Steps of complete checkpoints, oldest first. */
  steps(): number[] {
    return readdirSync(this.#checkpoints)
      .map((name) => pattern.exec(name)?.[1])
      .filter((step) => step !== undefined)
      .map(Number)
      .sort((a, b) => a - b);
  }

  /** Writes one checkpoint; older ones beyond the number to keep are removed afterwards. */
  async save(
    state: TrainerState,
    tensors: ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>,
  ): Promise<void> {
    const target = this.#folder(state.step);
    const temporary = `${target}.tmp`;
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary);
    const entries = new Map(
      [...tensors].map(([name, { shape, data }]) => [name, { dtype: 'F32' as const, shape, data }]),
    );
    await writeSafetensors(join(temporary, 'state.safetensors'), entries);
    writeFileSync(join(temporary, 'trainer.json'), `${JSON.stringify(state, null, 2)}\n`);
    flush(join(temporary, 'trainer.json'));
    flush(temporary);
    rmSync(target, { recursive: true, force: true });
    renameSync(temporary, target);
    flush(this.#checkpoints);
    for (const step of this.steps().slice(0, -this.#keep))
      rmSync(this.#folder(step), { recursive: true, force: true });
  }

  /** The newest complete checkpoint, or undefined for a fresh run. Throws `invalid-file` for a damaged one. */
  async load(): Promise<{ state: TrainerState; tensors: Map<string, Float32Array> } | undefined> {
    const step = this.steps().at(-1);
    if (step === undefined) return undefined;
    const folder = this.#folder(step);
    const statePath = join(folder, 'trainer.json');
    if (!existsSync(statePath))
      throw new MinkeError(
        'invalid-file',
        `${statePath}: expected the trainer's state, found nothing; remove ${folder} to go back to the checkpoint before`,
      );
    const state = JSON.parse(readFileSync(statePath, 'utf8')) as TrainerState;
    const file = await openSafetensors(join(folder, 'state.safetensors'));
    try {
      const tensors = new Map<string, Float32Array>();
      for (const name of file.tensors.keys()) tensors.set(name, await file.readFloat32(name));
      return { state, tensors };
    } finally {
      await file.close();
    }
  }

  get #checkpoints(): string {
    return join(this.folder, 'checkpoints');
  }

  #folder(step: number): string {
    return join(this.#checkpoints, `step-${String(step).padStart(7, '0')}`);
  }
}

function flush(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
