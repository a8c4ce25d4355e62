/**
 * Rollouts that were sampled ahead of training, on disk until a checkpoint holds what was learnt from them.
 *
 * Each is a file of JSON, written whole or not at all, with the position in the prompts after it. What a kill leaves
 * is used as it is: nothing that was sampled is lost. Rollouts of a run with other settings are removed.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import { writeAtomically } from '../atomic-file.ts';
import type { Rollout, RolloutGroup } from './rollout.ts';

/** A rollout and where it stands in the run. */
export interface BufferedRollout {
  /** From 0. */
  readonly number: number;
  readonly rolled: Rollout;
  /** The prompts' position after it. */
  readonly source: unknown;
  /** Optimiser steps between the policy that sampled and the one that begins to learn. */
  readonly lag: number;
  /** Milliseconds that sampling took. */
  readonly samplingMs: number;
}

/** Groups once, and which of them are to learn from. */
interface Stored extends Omit<BufferedRollout, 'rolled'> {
  readonly settings: string;
  readonly refills: number;
  readonly sampled: readonly RolloutGroup[];
  readonly learnt: readonly number[];
}

const pattern = /^rollout-(\d{7,})\.json$/;

export class RolloutBuffer {
  readonly #folder: string;
  readonly #settings: string;

  /** @param folder made if missing; @param settings of the run, plain JSON */
  constructor(folder: string, settings: unknown) {
    this.#folder = folder;
    this.#settings = JSON.stringify(settings);
    mkdirSync(folder, { recursive: true });
  }

  put({ rolled, ...rest }: BufferedRollout): void {
    const { sampled, groups, refills } = rolled;
    const learnt = groups.map((group) => sampled.indexOf(group));
    const stored: Stored = { ...rest, settings: this.#settings, refills, sampled, learnt };
    writeAtomically(this.#path(rest.number), `${JSON.stringify(stored)}\n`);
  }

  /** The rollouts from a number on that follow each other without a gap; all others are removed. */
  from(first: number): BufferedRollout[] {
    const found: BufferedRollout[] = [];
    for (let number = first; ; number++) {
      const stored = this.#read(number);
      if (stored?.settings !== this.#settings) break;
      const { settings: _, refills, sampled, learnt, ...rest } = stored;
      const groups = learnt.map((i) => sampled[i] as RolloutGroup);
      found.push({ ...rest, rolled: { groups, sampled, refills } });
    }
    for (const number of this.#numbers())
      if (number < first || number >= first + found.length) rmSync(this.#path(number));
    return found;
  }

  /** Forgets the rollouts before a number. */
  removeBefore(first: number): void {
    for (const number of this.#numbers()) if (number < first) rmSync(this.#path(number));
  }

  #read(number: number): Stored | undefined {
    const path = this.#path(number);
    if (!this.#numbers().includes(number)) return undefined;
    try {
      return JSON.parse(readFileSync(path, 'utf8')) as Stored;
    } catch (cause) {
      throw new MinkeError(
        'invalid-file',
        `${path}: expected a rollout, got ${(cause as Error).message}; remove it to sample it again`,
        { cause },
      );
    }
  }

  #numbers(): number[] {
    return readdirSync(this.#folder)
      .flatMap((name) => pattern.exec(name)?.[1] ?? [])
      .map(Number);
  }

  #path(number: number): string {
    return join(this.#folder, `rollout-${String(number).padStart(7, '0')}.json`);
  }
}
