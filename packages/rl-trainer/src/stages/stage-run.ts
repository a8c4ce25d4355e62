/**
 * The loop that stages of optimiser steps share: continue from the folder's newest checkpoint, step, log, checkpoint,
 * stop on a signal.
 *
 * A checkpoint holds what the learner saves, the position in the data and the lengths of `metrics.jsonl` and
 * `samples.jsonl`; a run killed at any moment and started again goes on from it to the same bytes.
 */
import { MinkeError } from '@minke/core';
import type { Learner } from '../interfaces.ts';
import { MetricsLog } from '../metrics-log.ts';
import { ProgressLine } from '../progress.ts';
import { RunStore, type TrainerState } from '../run-store.ts';
import { checkFinite, diagnosed } from './diagnosis.ts';

/** What every stage's configuration has. */
export interface StageConfig {
  /** Optimiser steps of the whole run. */
  readonly steps: number;
  /** Steps between checkpoints. */
  readonly checkpointEvery: number;
}

/** Lines for `samples.jsonl` after so many steps: a function of the policy as it is then and of nothing else. */
export type SampleLines = (step: number) => Promise<readonly Readonly<Record<string, unknown>>[]>;

/** What every stage's caller gives. */
export interface StageOptions<Metrics> {
  /** Folder for checkpoints and metrics; an earlier run in it is continued. */
  readonly folder: string;
  readonly onStep?: (metrics: Metrics) => void;
  /** Asked before each regular checkpoint is written: what the policy says by then. Default: no samples. */
  readonly samples?: SampleLines | undefined;
  /** Draw a progress line on stderr. */
  readonly progress?: boolean;
  /** Ends the run after the current step, with a checkpoint; rejects with `aborted`. */
  readonly signal?: AbortSignal;
}

/** What every line of `metrics.jsonl` has. */
export interface StageMetrics {
  /** Optimiser steps so far. */
  readonly global_step: number;
  readonly loss: number;
  /** Tokens trained on so far. */
  readonly num_tokens: number;
  /** Of the whole gradient, before it is scaled down. */
  readonly grad_norm: number;
}

/** One stage: what differs between them. */
export interface Stage<Metrics extends StageMetrics> extends StageOptions<Metrics> {
  /** The function's name, for errors. */
  readonly name: string;
  /** Checked by the stage. A resumed run must have the same. */
  readonly config: StageConfig;
  readonly learner: Pick<Learner, 'saveState' | 'loadState'>;
  /** The position in the data. */
  readonly source: { state(): unknown; restore(state: unknown): void };
  /** Called once, after a checkpoint was loaded. */
  readonly begin?: () => Promise<void>;
  /** @param step counted from 0; @param tokens trained on before it */
  readonly step: (step: number, tokens: number) => Promise<Metrics>;
  /** Figures for the progress line. */
  readonly show: (metrics: Metrics) => string;
}

/** Runs a stage to its end. Resolves with the last step's metrics; a complete run is only loaded. */
export async function runStage<Metrics extends StageMetrics>(stage: Stage<Metrics>): Promise<Metrics> {
  const { name, config, learner, source, signal } = stage;
  const store = new RunStore(stage.folder);
  const start = await resume(store, stage);
  await stage.begin?.();
  const log = new MetricsLog(store.metricsPath, start.metricsBytes);
  const samplesLog = stage.samples && new MetricsLog(store.samplesPath, start.samplesBytes ?? 0);
  const bar = stage.progress ? new ProgressLine(config.steps, start.step) : undefined;
  let { tokens } = start;
  let metrics: Metrics | undefined;
  try {
    for (let step = start.step; step < config.steps; step++) {
      // Signals and timers get their turn; a backend that computes at once never waits for anything.
      await new Promise<void>((resolve) => setImmediate(resolve));
      metrics = await checkedStep(stage, step, tokens).catch((cause) => {
        throw diagnosed(cause, { name, step: step + 1, store });
      });
      tokens = metrics.num_tokens;
      log.append(metrics as StageMetrics & Readonly<Record<string, unknown>>);
      stage.onStep?.(metrics);
      bar?.update(step + 1, stage.show(metrics));
      const stopped = signal?.aborted === true;
      const due = step + 1 === config.steps || (step + 1) % config.checkpointEvery === 0;
      // A run that was stopped in between must not have more samples than one that was not.
      if (due) for (const line of (await stage.samples?.(step + 1)) ?? []) samplesLog?.append(line);
      if (stopped || due) {
        const position = { stage: name, step: step + 1, source: source.state() };
        const bytes = { metricsBytes: log.bytes, ...(samplesLog && { samplesBytes: samplesLog.bytes }) };
        const state: TrainerState = { ...position, ...bytes, tokens, config };
        await store
          .commit(step + 1, state, (folder) => learner.saveState(folder))
          .catch((cause) => {
            throw diagnosed(cause, { name, step: step + 1, store, saving: true });
          });
      }
      if (stopped)
        throw new MinkeError(
          'aborted',
          `${name}: stopped after step ${step + 1}; start it again to continue`,
        );
    }
    return metrics ?? (JSON.parse(log.lastLine()) as Metrics);
  } finally {
    log.close();
    samplesLog?.close();
  }
}

async function resume<Metrics extends StageMetrics>(
  store: RunStore,
  { name, config, learner, source }: Stage<Metrics>,
): Promise<Pick<TrainerState, 'step' | 'metricsBytes' | 'samplesBytes' | 'tokens'>> {
  const saved = store.latest<TrainerState>();
  if (saved === undefined) return { step: 0, metricsBytes: 0, tokens: 0 };
  const { state, folder } = saved;
  if (state.stage !== name || JSON.stringify(state.config) !== JSON.stringify(config))
    throw new MinkeError(
      'invalid-config',
      `${name}: ${store.folder} holds a run ${state.stage === name ? 'with another configuration' : `of ${state.stage}`}; use another folder, or the settings in its trainer.json`,
    );
  await learner.loadState(folder);
  source.restore(state.source);
  return state;
}

/** A step whose loss and gradient are numbers: nothing else is logged or saved. */
async function checkedStep<Metrics extends StageMetrics>(
  stage: Stage<Metrics>,
  step: number,
  tokens: number,
): Promise<Metrics> {
  const metrics = await stage.step(step, tokens);
  checkFinite(stage.name, 'loss', metrics.loss);
  checkFinite(stage.name, "gradient's norm", metrics.grad_norm);
  return metrics;
}

/** What is wrong with whole numbers of at least 1 and numbers of at least 0, each as "expected" continues it. */
export function settingProblems<Config>(
  config: Config,
  whole: readonly (keyof Config & string)[],
  numbers: readonly (keyof Config & string)[],
): string[] {
  const problems: string[] = [];
  for (const name of whole)
    if (!Number.isSafeInteger(config[name]) || (config[name] as number) < 1)
      problems.push(`${name} a positive integer, got ${config[name]}`);
  for (const name of numbers)
    if (!Number.isFinite(config[name]) || (config[name] as number) < 0)
      problems.push(`${name} a number of at least 0, got ${config[name]}`);
  return problems;
}

/** Throws `invalid-config` naming all problems, if there are any. */
export function refuse(name: string, problems: readonly string[]): void {
  if (problems.length > 0) throw new MinkeError('invalid-config', `${name}: expected ${problems.join('; ')}`);
}
