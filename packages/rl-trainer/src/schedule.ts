/**
 * Learning-rate schedules: linear warm-up, then one of the field's four shapes. Step counts are optimiser
 * steps; the factor multiplies the peak rate.
 */
import { check } from '@minke/core';

export interface Schedule {
  readonly shape: 'constant' | 'linear' | 'cosine' | 'warmup-stable-decay';
  /** Steps of linear warm-up from peak / warmupSteps to peak. */
  readonly warmupSteps: number;
  /** Rate at the last step over the peak; 0.1 in DeepSeek's fine-tuning. Ignored by `constant`. */
  readonly finalFraction: number;
  /** Share of the steps that decay, at the end; used by `warmup-stable-decay` only. */
  readonly decayFraction: number;
}

/** The rate's factor at `step`, counted from 0, of `steps`. */
export function scheduleFactor(schedule: Schedule, step: number, steps: number): number {
  check(step >= 0 && step < steps, () => `scheduleFactor: expected a step below ${steps}, got ${step}`);
  const { shape, warmupSteps, finalFraction, decayFraction } = schedule;
  if (step < warmupSteps) return (step + 1) / warmupSteps;
  if (shape === 'constant') return 1;
  const start =
    shape === 'warmup-stable-decay'
      ? Math.max(warmupSteps, Math.round(steps * (1 - decayFraction)))
      : warmupSteps;
  if (step < start) return 1;
  const progress = steps - 1 > start ? (step - start) / (steps - 1 - start) : 1;
  const curve = shape === 'cosine' ? (1 + Math.cos(Math.PI * progress)) / 2 : 1 - progress;
  return finalFraction + (1 - finalFraction) * curve;
}
