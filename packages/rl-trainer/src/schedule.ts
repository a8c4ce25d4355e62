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

const shapes: readonly string[] = ['constant', 'linear', 'cosine', 'warmup-stable-decay'];

/** What is wrong with a schedule, each as "expected" continues it. */
export function scheduleProblems({ shape, warmupSteps, finalFraction, decayFraction }: Schedule): string[] {
  const problems: string[] = [];
  if (!shapes.includes(shape)) problems.push(`schedule.shape ${shapes.join(', ')}, got ${shape}`);
  if (!(Number.isSafeInteger(warmupSteps) && warmupSteps >= 0))
    problems.push(`schedule.warmupSteps a whole number of at least 0, got ${warmupSteps}`);
  for (const [name, value] of Object.entries({ finalFraction, decayFraction }))
    if (!(value >= 0 && value <= 1)) problems.push(`schedule.${name} in [0, 1], got ${value}`);
  return problems;
}

/** A constant rate after so many steps of linear warm-up. */
export const constantAfter = (warmupSteps: number): Schedule => ({
  shape: 'constant',
  warmupSteps,
  finalFraction: 1,
  decayFraction: 0,
});
