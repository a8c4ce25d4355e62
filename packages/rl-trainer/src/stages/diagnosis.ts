/**
 * What is said when a step fails: where, why as far as the numbers tell, which checkpoint is good, and what to do.
 *
 * Training that diverges is not repaired here: a run is deterministic, so starting it again with the same settings
 * fails again. The newest checkpoint is not a good one when the very next step from it has no finite loss.
 */
import { MinkeError } from '@minke/core';
import type { RunStore } from '../run-store.ts';

/** A step that failed. */
export interface FailedStep {
  /** Name of the stage's function. */
  readonly name: string;
  /** Counted from 1. */
  readonly step: number;
  readonly store: Pick<RunStore, 'steps' | 'folder'>;
  /** It was taken, and its checkpoint failed. */
  readonly saving?: boolean;
}

const numbers = /became (NaN|-?Infinity)/;

/** Throws `invalid-argument` where a figure of a step is no number any more. */
export function checkFinite(name: string, figure: string, value: unknown): void {
  if (typeof value === 'number' && !Number.isFinite(value))
    throw new MinkeError('invalid-argument', `${name}: the ${figure} became ${value}`);
}

/** The error of a failed step, with what to do about it. Interruptions, and what is not ours, as they are. */
export function diagnosed(cause: unknown, { name, step, store, saving = false }: FailedStep): unknown {
  if (!MinkeError.isInstance(cause) || cause.code === 'aborted') return cause;
  const where = `${name}: step ${step}: ${cause.message}`;
  const steps = store.steps();
  const newest = steps.at(-1);
  if (!numbers.test(cause.message)) {
    const last =
      newest === undefined ? 'there is no checkpoint yet' : `the last checkpoint is of step ${newest}`;
    return new MinkeError(cause.code, `${where} (${last})`, { cause, details: cause.details });
  }
  const broken = !saving && newest !== undefined && newest === step - 1;
  const good = broken ? steps.at(-2) : newest;
  const doubt = broken ? `; the checkpoint of step ${newest} is no good: the first step from it fails` : '';
  const from =
    good === undefined
      ? 'there is no checkpoint yet that is good'
      : `the last good checkpoint is of step ${good}`;
  return new MinkeError(
    'invalid-argument',
    `${where}${doubt}; ${from}, in ${store.folder}; begin another run with a lower learning rate, more warm-up or a lower maxGradNorm, as this one would fail again`,
    { cause, details: { ...cause.details, lastGoodStep: good ?? null } },
  );
}
