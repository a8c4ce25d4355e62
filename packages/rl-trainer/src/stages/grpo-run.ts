/**
 * What `trainGrpo` expects of its options, and what it keeps on disk between two rollouts.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import { type RlConfig, validateRl } from '../objectives/index.ts';
import type { RunStore } from '../run-store.ts';
import type { ValueLearner } from '../score-learner.ts';
import type { GrpoOptions } from './grpo-options.ts';

/** The critic, where the configuration has one. */
export const criticOf = ({ critic, config }: GrpoOptions): ValueLearner | undefined =>
  config.critic === null ? undefined : critic;

/** Optimiser steps of the critic alone, in whole rollouts. */
export function warmupOf({ critic, minibatches, innerEpochs }: RlConfig): number {
  const perRollout = minibatches * innerEpochs;
  return Math.ceil((critic?.warmupSteps ?? 0) / perRollout) * perRollout;
}

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

/** Numbers of tokens of the parts of the work: what a run costs, whatever the machine. */
export interface TokenWork {
  /** Of completions; an environment's are not. */
  readonly sampled: number;
  /** Computed without gradient beside sampling: each prompt and reply once, references, old log-probabilities. */
  readonly forwarded: number;
  /** Computed with gradient, prompts included. */
  readonly trained: number;
}

/** Where a run stands between two rollouts. Plain JSON. */
export interface GrpoState {
  readonly stage: 'grpo';
  readonly step: number;
  readonly rollouts: number;
  readonly tokens: number;
  /** Tokens of the parts of the work so far; none in checkpoints of before they were counted. */
  readonly work?: TokenWork;
  readonly source: unknown;
  readonly metricsBytes: number;
  readonly samplesBytes: number;
  /** Of asynchronous runs. */
  readonly journalBytes?: number;
  readonly settings: GrpoSettings;
}

/** Learner, reference and critic as they were, and where the run stands. */
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
  await criticOf(options)?.loadState(join(folder, 'critic'));
  prompts.restore(state.source);
  return state;
}

/** Writes a checkpoint of everything that `startRun` brings back. */
export async function saveRun(store: RunStore, options: GrpoOptions, state: GrpoState): Promise<void> {
  const { learner, reference } = options;
  await store.commit(state.step, state, async (folder) => {
    await learner.saveState(join(folder, 'learner'));
    await criticOf(options)?.saveState(join(folder, 'critic'));
    if (reference === undefined) return;
    mkdirSync(join(folder, 'reference'));
    await reference.saveState(join(folder, 'reference'));
  });
}

/** Throws `invalid-config` naming everything that is wrong with the options. */
export function validate(options: GrpoOptions): void {
  const {
    config,
    reference,
    critic,
    environment,
    encode,
    steps,
    maxStaleness = 0,
    checkpointEvery = 50,
    samplesPerRollout = 4,
  } = options;
  validateRl(config);
  const problems: string[] = [];
  for (const [name, value] of Object.entries({ steps, checkpointEvery }))
    if (!Number.isSafeInteger(value) || value < 1) problems.push(`${name} a positive integer, got ${value}`);
  if (!Number.isSafeInteger(samplesPerRollout) || samplesPerRollout < 0)
    problems.push(`samplesPerRollout a whole number of at least 0, got ${samplesPerRollout}`);
  if (!Number.isSafeInteger(maxStaleness) || maxStaleness < 0)
    problems.push(`maxStaleness a whole number of at least 0, got ${maxStaleness}`);
  if (environment !== undefined) {
    const { maxTurns = 8, maxReplyTokens = 256, stepTimeoutMs = 30_000 } = environment;
    for (const [name, value] of Object.entries({ maxTurns, maxReplyTokens, stepTimeoutMs }))
      if (!Number.isSafeInteger(value) || value < 1)
        problems.push(`environment.${name} a positive integer, got ${value}`);
    if (encode === undefined) problems.push('encode beside an environment, got none');
  }
  if (reference === undefined && (config.objective.beta > 0 || config.rewardBeta > 0))
    problems.push('a reference, as beta or rewardBeta is above 0, got none');
  if (config.critic !== null && critic === undefined)
    problems.push("a critic, as the advantage is gae, got none; localPolicy's { critic: true } makes one");
  const warmup = warmupOf(config);
  if (warmup > 0 && steps <= warmup)
    problems.push(`steps beyond the critic's warm-up of ${warmup} (in whole rollouts), got ${steps}`);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `trainGrpo: expected ${problems.join('; ')}`);
}
