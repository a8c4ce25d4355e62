/**
 * Reinforcement learning with verifiable rewards: GRPO (https://arxiv.org/abs/2402.03300, section 4.1) and the
 * field's family around it, PPO with a critic (https://arxiv.org/abs/1707.06347) among it, as `RlConfig` says;
 * synchronous and on-policy, or with samples that are a bounded number of optimiser steps old (`maxStaleness`).
 *
 * A rollout samples groups for `promptsPerStep * minibatches` prompts; `minibatches * innerEpochs` optimiser steps
 * follow, of the policy and, where there is one, of the critic, each on its own; values and advantages stay those of
 * the rollout. While the critic warms up, the policy waits, and so does its schedule. The reference becomes the policy
 * every `referenceEvery` steps, before the next rollout. Checkpoints are written between rollouts, at the first one
 * after `checkpointEvery` steps.
 *
 * A run killed at any moment and started again ends with the same bytes, the wall-clock figures of its metrics apart:
 * all randomness comes from the seed and the number of the rollout. Optimiser moments are the learner's and begin
 * fresh with a new learner.
 */
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import { MetricsLog } from '../metrics-log.ts';
import type { RlConfig } from '../objectives/index.ts';
import { ProgressLine } from '../progress.ts';
import type { RewardTerm } from '../rewards/compose.ts';
import { RunStore } from '../run-store.ts';
import { scheduleFactor } from '../schedule.ts';
import { updateCritic } from './critic-update.ts';
import { checkFinite, diagnosed } from './diagnosis.ts';
import {
  criticMetrics,
  criticUpdateMetrics,
  journalLine,
  rolloutMetrics,
  sampleLines,
  updateMetrics,
} from './grpo-metrics.ts';
import type { GrpoMetrics, GrpoOptions } from './grpo-options.ts';
import { criticOf, type GrpoState, saveRun, settingsOf, startRun, validate, warmupOf } from './grpo-run.ts';
import { countedLength, spreadOver } from './masked.ts';
import { type MiniBatch, prepare } from './mini-batches.ts';
import { updatePolicy } from './policy-update.ts';
import { type RolloutFeed, synchronousFeed } from './rollout-feed.ts';
import { RolloutsAhead } from './rollouts-ahead.ts';
import { StepClock } from './step-clock.ts';

/**
 * Trains the learner's policy. Resolves with the last step's metrics; a complete run is only loaded.
 * Throws `invalid-config` for a wrong configuration or a folder with another run, `aborted` after the signal, and
 * `invalid-argument` when the loss or the gradient is no longer finite.
 *
 * @example
 * const local = await localPolicy(language);
 * await trainGrpo({ ...local, prompts, rewards, config: presets['r1-zero'], steps: 100, seed: 0, folder: 'zero' });
 */
export async function trainGrpo(options: GrpoOptions): Promise<GrpoMetrics> {
  const { steps, folder, signal } = options;
  validate(options);
  const store = new RunStore(folder);
  const run = await startRun(store, options);
  const metricsLog = new MetricsLog(store.metricsPath, run.metricsBytes);
  const samplesLog = new MetricsLog(store.samplesPath, run.samplesBytes);
  const termsAt = askedOnce(options);
  const stage = new GrpoStage({ ...options, termsAt }, run, feedOf({ ...options, termsAt }, run));
  const journal = options.maxStaleness
    ? new MetricsLog(join(store.folder, 'journal.jsonl'), run.journalBytes ?? 0)
    : undefined;
  const bar = options.progress ? new ProgressLine(steps, run.step) : undefined;
  let saved = run.step;
  let last = metricsLog.bytes > 0 ? (JSON.parse(metricsLog.lastLine()) as GrpoMetrics) : undefined;
  const over = () => stage.state.step >= steps || (last !== undefined && options.stopWhen?.(last) === true);
  const save = async () => {
    if (stage.state.step === saved) return;
    await stage.feed.settle(stage.state.step);
    const bytes = { metricsBytes: metricsLog.bytes, samplesBytes: samplesLog.bytes };
    const ofJournal = journal && { journalBytes: journal.bytes };
    const { step } = stage.state;
    await saveRun(store, options, { ...stage.state, ...bytes, ...ofJournal }).catch((cause) => {
      throw diagnosed(cause, { name: 'trainGrpo', step, store, saving: true });
    });
    saved = step;
    stage.feed.forget(stage.state.rollouts);
  };
  try {
    while (!over()) {
      // Signals and timers get their turn; a backend that computes at once never waits for anything.
      await new Promise<void>((resolve) => setImmediate(resolve));
      try {
        for await (const { metrics, samples, used } of stage.rollout()) {
          if (used !== null) journal?.append(used);
          for (const sample of samples) samplesLog.append(sample);
          metricsLog.append(metrics);
          last = metrics;
          options.onStep?.(metrics);
          bar?.update(metrics.global_step, summary(metrics));
        }
      } catch (problem) {
        if (signal?.aborted) await save();
        throw diagnosed(problem, { name: 'trainGrpo', step: stage.state.step + 1, store });
      }
      const due = stage.state.step - saved >= (options.checkpointEvery ?? 50);
      if (due || signal?.aborted || over()) await save();
      if (signal?.aborted)
        throw new MinkeError(
          'aborted',
          `trainGrpo: stopped after step ${stage.state.step}; start it again to continue`,
        );
    }
    return last ?? (JSON.parse(metricsLog.lastLine()) as GrpoMetrics);
  } finally {
    metricsLog.close();
    samplesLog.close();
    journal?.close();
    await stage.feed.close();
  }
}

/** The options with the rewards of a rollout by the optimiser steps before it. */
type StageOptions = GrpoOptions & { readonly termsAt: (step: number) => readonly RewardTerm[] };

/**
 * The terms for each rollout, though sampling and training both want them. Sampling asks for at most `ahead` steps more
 * than training, so what lies further back is forgotten.
 */
function askedOnce({ rewards, config, maxStaleness = 0 }: GrpoOptions): StageOptions['termsAt'] {
  if (typeof rewards !== 'function') return () => rewards;
  const ahead = maxStaleness + 2 * config.minibatches * config.innerEpochs;
  const known = new Map<number, readonly RewardTerm[]>();
  return (step) => {
    for (const earlier of known.keys()) if (earlier < step - ahead) known.delete(earlier);
    const terms = known.get(step) ?? rewards(step);
    known.set(step, terms);
    return terms;
  };
}

/** Truncated importance sampling, for samples of another policy (verl's and OpenRLHF's bound). */
const truncated = { mode: 'truncate', level: 'token', high: 2 } as const;

/** Where rollouts come from. */
function feedOf(options: StageOptions, run: GrpoState): RolloutFeed {
  const { config, maxStaleness = 0, steps, folder } = options;
  if (maxStaleness === 0) return synchronousFeed(options);
  const perRollout = config.minibatches * config.innerEpochs;
  const ahead = { maxStaleness, perRollout, steps, settings: settingsOf(options) };
  return new RolloutsAhead(
    { ...options, ...ahead, folder: join(folder, 'rollouts') },
    { number: run.rollouts, step: run.step },
  );
}

interface StepReport {
  readonly metrics: GrpoMetrics;
  /** Lines for `samples.jsonl`, with the first step of a rollout. */
  readonly samples: readonly Record<string, unknown>[];
  /** The line for the journal, likewise. */
  readonly used: Record<string, unknown> | null;
}

/** The run's moving parts; `state` changes when a rollout is over. */
class GrpoStage {
  readonly #options: StageOptions;
  readonly feed: RolloutFeed;
  readonly #config: RlConfig;
  state: GrpoState;

  constructor(options: StageOptions, state: GrpoState, feed: RolloutFeed) {
    this.#options = options;
    this.state = state;
    this.feed = feed;
    const { objective } = options.config;
    const correction = objective.correction ?? (options.maxStaleness ? truncated : null);
    this.#config = { ...options.config, objective: { ...objective, correction } };
  }

  /** Takes a rollout and the optimiser steps that follow. */
  async *rollout(): AsyncGenerator<StepReport> {
    const { sampler, learner, reference, termsAt, steps, samplesPerRollout = 4 } = this.#options;
    const config = this.#config;
    const critic = criticOf(this.#options);
    let { step, tokens, rollouts, work = { sampled: 0, forwarded: 0, trained: 0 } } = this.state;
    const perRollout = config.minibatches * config.innerEpochs;
    const terms = termsAt(step);
    let clock = new StepClock();
    if (refreshIsDue(step, perRollout, config.referenceEvery))
      await clock.time('reference', async () => reference?.refresh());
    const { rolled, source, lag, samplingMs } = await this.feed.next(rollouts, step, clock);
    const exact = sampler.exact === true && lag === 0;
    const prepared = await prepare(rolled, { learner, exact, reference, critic, config, terms, clock });
    const shared = {
      ...rolloutMetrics(rolled, terms, config.maxRefills),
      ...criticMetrics(prepared.miniBatches),
      'rollout/lag': lag,
    };
    let sampled = 0;
    let replies = 0;
    for (const { samples, greedy } of rolled.sampled)
      for (const sample of greedy ? [...samples, greedy.sample] : samples) {
        const own = countedLength(sample.tokens, sample.mask);
        sampled += own;
        replies += sample.tokens.length - own;
      }
    tokens += rolled.sampled.reduce(
      (sum, { prompt, samples }) => sum + samples.length * prompt.tokens.length + countTokens(samples),
      0,
    );
    const promptTokens = rolled.sampled.reduce((sum, { prompt }) => sum + prompt.tokens.length, 0);
    work = {
      ...work,
      sampled: work.sampled + sampled,
      forwarded: work.forwarded + promptTokens + replies + prepared.forwarded,
    };
    const batches = [...prepared.miniBatches];
    for (let update = 0; update < perRollout && step < steps; update++, step++) {
      const m = update % config.minibatches;
      const batch = batches[m] as MiniBatch;
      const valued = await this.#updateCritic(batch, step, clock);
      const { logProbs, ...updated } = await this.#updatePolicy(batch, step, clock);
      if (batch.oldLogProbs === undefined) batches[m] = { ...batch, oldLogProbs: logProbs };
      const figures: Record<string, number> = { ...updated.figures, ...valued };
      work = { ...work, trained: work.trained + updated.trained };
      const metrics: GrpoMetrics = {
        global_step: step + 1,
        ...shared,
        ...figures,
        ...(update === 0 && {
          'rollout/logprob_diff_max': figures['sampling/sampling_logp_difference/max'] ?? null,
        }),
        learning_rate: updated.learningRate,
        num_tokens: tokens,
        ...{ num_sampled_tokens: work.sampled, num_forwarded_tokens: work.forwarded },
        num_trained_tokens: work.trained,
        ...clock.read({ sampled, trained: updated.trained, samplingMs }),
      };
      for (const name of ['loss', 'grad_norm', 'critic/vf_loss', 'critic/grad_norm'])
        checkFinite('trainGrpo', name, figures[name] ?? 0);
      const samples = update === 0 ? sampleLines(prepared.samples, step + 1, samplesPerRollout) : [];
      const used = update === 0 ? journalLine(rolled, { step: step + 1, rollouts, lag }) : null;
      yield { metrics, samples, used };
      await this.feed.stepped(step + 1);
      clock = new StepClock();
      sampled = 0;
    }
    this.state = { ...this.state, step, tokens, work, rollouts: rollouts + 1, source };
  }

  /** One optimiser step of the policy; nothing while the critic warms up. */
  async #updatePolicy(batch: MiniBatch, step: number, clock: StepClock) {
    const { learner, steps } = this.#options;
    const config = this.#config;
    const warmup = warmupOf(config);
    if (step < warmup) return { figures: {}, logProbs: undefined, learningRate: 0, trained: 0 };
    const learningRate = config.learningRate * scheduleFactor(config.schedule, step - warmup, steps - warmup);
    const result = await clock.time('update', () =>
      updatePolicy(learner, withOld(batch), batch.counted, { config, learningRate }),
    );
    const trained = batch.sequences.reduce((sum, { tokens }) => sum + tokens.length, 0);
    const figures = updateMetrics(batch, result, config);
    return { figures, logProbs: result.logProbs, learningRate, trained };
  }

  /** One optimiser step of the critic; nothing without one. */
  async #updateCritic(batch: MiniBatch, step: number, clock: StepClock): Promise<Record<string, number>> {
    const { steps } = this.#options;
    const config = this.#config;
    const critic = criticOf(this.#options);
    if (critic === undefined || config.critic === null) return {};
    const learningRate = config.critic.learningRate * scheduleFactor(config.schedule, step, steps);
    const result = await clock.time('critic', () =>
      updateCritic(critic, batch.sequences, batch.counted, { config, learningRate }),
    );
    return criticUpdateMetrics(batch, result, config.critic, learningRate);
  }
}

/** Whether a multiple of `every` lies in the steps since the last rollout began. */
function refreshIsDue(step: number, perRollout: number, every: number): boolean {
  if (every === 0 || step === 0) return false;
  return Math.floor(step / every) > Math.floor((step - perRollout) / every);
}

const withOld = ({ sequences, oldLogProbs }: MiniBatch) =>
  oldLogProbs === undefined
    ? sequences
    : sequences.map((sequence, i) => ({
        ...sequence,
        oldLogProbs: spreadOver(oldLogProbs[i] as readonly number[], sequence.mask),
      }));

const countTokens = (samples: readonly { readonly tokens: readonly number[] }[]): number =>
  samples.reduce((sum, { tokens }) => sum + tokens.length, 0);

const summary = (metrics: GrpoMetrics): string =>
  `reward ${metrics.reward?.toFixed(3) ?? '-'}  length ${metrics['completions/mean_length']?.toFixed(1)}`;
