/**
 * What `trainGrpo` keeps on disk between two rollouts, and what it says when the numbers go wrong.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import type { RlConfig } from '../objectives/index.ts';
import type { RunStore } from '../run-store.ts';
import type { GrpoOptions } from './grpo.ts';

/** What a continuation must share. Plain JSON. */
export interface GrpoSettings {
  readonly config: RlConfig;
  readonly steps: number;
  readonly seed: number;
  readonly maxStaleness?: number;
}

/** The settings of a run; synchronous ones do not name their staleness. */
export function settingsOf({ config, steps, seed, maxStaleness = 0 }: GrpoOptions): GrpoSettings {
  return { config, steps, seed, ...(maxStaleness > 0 && { maxStaleness }) };
}

/** Where a run stands between two rollouts. Plain JSON. */
export interface GrpoState {
  readonly stage: 'grpo';
  readonly step: number;
  readonly rollouts: number;
  readonly tokens: number;
  readonly source: unknown;
  readonly metricsBytes: number;
  readonly samplesBytes: number;
  /** Of asynchronous runs. */
  readonly journalBytes?: number;
  readonly settings: GrpoSettings;
}

/** Learner and reference as they were, and where the run stands. */
export async function startRun(store: RunStore, options: GrpoOptions): Promise<GrpoState> {
  const { learner, reference, prompts } = options;
  const settings = settingsOf(options);
  const saved = store.latest<GrpoState>();
  if (saved === undefined)
    return {
      ...{ stage: 'grpo', step: 0, rollouts: 0, tokens: 0, source: prompts.state() },
      ...{ metricsBytes: 0, samplesBytes: 0, settings },
    };
  const { state, folder } = saved;
  if (state.stage !== 'grpo' || JSON.stringify(state.settings) !== JSON.stringify(settings))
    throw new MinkeError(
      'invalid-config',
      `trainGrpo: ${store.folder} holds a run with other settings; use another folder, or the settings in ${join(folder, 'trainer.json')}`,
    );
  await learner.loadState(join(folder, 'learner'));
  await reference?.loadState(join(folder, 'reference'));
  prompts.restore(state.source);
  return state;
}

export async function saveRun(
  store: RunStore,
  { learner, reference }: GrpoOptions,
  state: GrpoState,
): Promise<void> {
  await store.commit(state.step, state, async (folder) => {
    await learner.saveState(join(folder, 'learner'));
    if (reference === undefined) return;
    mkdirSync(join(folder, 'reference'));
    await reference.saveState(join(folder, 'reference'));
  });
}

/** A failure of the numbers with what to do about it; others as they are. */
export function diagnosed(problem: unknown, store: RunStore): unknown {
  if (!MinkeError.isInstance(problem) || !/became (NaN|-?Infinity)/.test(problem.message)) return problem;
  const good = store.steps().at(-1);
  const from = good === undefined ? 'from the beginning' : `from step ${good}, its last good checkpoint`;
  return new MinkeError(
    'invalid-argument',
    `${problem.message}; start the run in ${store.folder} again to continue ${from}, or begin another with a lower learning rate, more warm-up or a lower maxGradNorm`,
    { cause: problem, details: { lastGoodStep: good ?? null } },
  );
}
