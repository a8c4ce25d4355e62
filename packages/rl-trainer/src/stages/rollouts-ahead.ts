/**
 * Sampling ahead of training, at most `maxStaleness` policy versions (optimiser steps) old when training begins with it.
 *
 * Rollout r is learnt from after step r * n (n optimiser steps a rollout) and sampled by the policy of step
 * max(0, r * n - maxStaleness): as old as allowed, so that the sampler never waits for a policy that it could do
 * without, and always the same one, so that a run does not depend on which of the two was faster, and a run that was
 * killed ends with the bytes of one that was not. With maxStaleness = n sampler and trainer work on neighbouring
 * rollouts; more evens out rollouts of unequal length.
 *
 * Each rollout is on disk once it is sampled. Before a checkpoint those that need older policies than the checkpoint's
 * are waited for, so that no policy but the learner's own has to be kept: a run continues from the checkpoint, uses the
 * rollouts on disk, and samples the rest anew, by the same policies, with the same seeds and under the same names.
 */
import { MinkeError } from '@minke/core';
import type { PolicyExport } from '../interfaces.ts';
import { type BufferedRollout, RolloutBuffer } from './rollout-buffer.ts';
import { type FedRollout, type FeedOptions, feedOne, type RolloutFeed } from './rollout-feed.ts';
import { StepClock } from './step-clock.ts';

/** Where a run stands and how far it may run ahead. */
export interface AheadOptions extends FeedOptions {
  /** In optimiser steps, above 0. */
  readonly maxStaleness: number;
  /** Optimiser steps a rollout. */
  readonly perRollout: number;
  /** Optimiser steps of the whole run. */
  readonly steps: number;
  /** Of the run, plain JSON. */
  readonly settings: unknown;
  /** For the rollouts. */
  readonly folder: string;
}

export class RolloutsAhead implements RolloutFeed {
  readonly #options: AheadOptions;
  readonly #buffer: RolloutBuffer;
  /** Sampled and not yet handed out, by number. */
  readonly #ready = new Map<number, BufferedRollout>();
  readonly #policies = new Map<number, PolicyExport>();
  readonly #cancel = new AbortController();
  readonly #firstStep: number;
  /** The next rollout to be sampled. */
  #next: number;
  #production: Promise<void> | undefined;
  #failure: unknown;
  #stopped = false;
  #wake: (() => void)[] = [];

  /** @param number of the first rollout; @param step optimiser steps taken before it */
  constructor(options: AheadOptions, { number, step }: { readonly number: number; readonly step: number }) {
    this.#options = options;
    this.#firstStep = step;
    this.#buffer = new RolloutBuffer(options.folder, options.settings);
    const left = this.#buffer.from(number);
    for (const rollout of left) this.#ready.set(rollout.number, rollout);
    const last = left.at(-1);
    if (last !== undefined) options.prompts.restore(last.source);
    this.#next = number + left.length;
  }

  async next(number: number, _step: number, clock: StepClock): Promise<FedRollout> {
    if (this.#production === undefined) {
      await this.stepped(this.#firstStep);
      this.#production = this.#produce().catch((problem) => {
        this.#failure = problem;
      });
      void this.#production.then(() => this.#changed());
    }
    const { signal } = this.#options;
    const abort = () => this.#changed();
    signal?.addEventListener('abort', abort);
    try {
      const there = () => this.#ready.has(number) || signal?.aborted === true;
      await clock.time('sampling', () => this.#until(there));
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    const rollout = this.#ready.get(number);
    if (rollout === undefined || signal?.aborted)
      throw new MinkeError('aborted', 'trainGrpo: the caller cancelled');
    this.#ready.delete(number);
    return rollout;
  }

  /** Exports the policy where a rollout to come is sampled by it. */
  async stepped(step: number): Promise<void> {
    const first = this.#next;
    const { perRollout, maxStaleness } = this.#options;
    const last = Math.floor((step + maxStaleness) / perRollout);
    let wanted = false;
    for (let number = first; number <= last && !wanted; number++)
      wanted = this.#exists(number) && this.#policyStep(number) === step;
    if (!wanted) return;
    const policy = await this.#options.learner.exportForSampler();
    if (policy.location === null)
      throw new MinkeError(
        'invalid-config',
        'trainGrpo: expected policies in folders, as maxStaleness is above 0, got ones that share their weights with the learner; wrap the learner in an ExportingLearner and sample with a WorkerSampler',
      );
    this.#policies.set(step, policy);
    this.#changed();
  }

  async settle(step: number): Promise<void> {
    if (this.#production === undefined) return;
    if (this.#options.signal?.aborted) this.#stopped = true;
    this.#changed();
    await this.#until(() => !this.#exists(this.#next) || this.#policyStep(this.#next) >= step);
  }

  forget(number: number): void {
    this.#buffer.removeBefore(number);
  }

  async close(): Promise<void> {
    this.#stopped = true;
    this.#cancel.abort();
    this.#changed();
    await this.#production;
  }

  /** The policy that samples a rollout, as optimiser steps. */
  #policyStep(number: number): number {
    const { perRollout, maxStaleness } = this.#options;
    return Math.max(this.#firstStep, number * perRollout - maxStaleness);
  }

  #exists(number: number): boolean {
    return number * this.#options.perRollout < this.#options.steps;
  }

  async #produce(): Promise<void> {
    const { sampler, perRollout } = this.#options;
    let current = -1;
    while (this.#exists(this.#next)) {
      const number = this.#next;
      const step = this.#policyStep(number);
      // What follows a stop is not begun, unless it is all that a checkpoint waits for: its policy is there then.
      const cancelled = this.#cancel.signal;
      await this.#until(() => this.#policies.has(step) || this.#stopped);
      if (cancelled.aborted || !this.#policies.has(step)) return;
      if (step !== current) await sampler.update(this.#policies.get(step) as PolicyExport);
      current = step;
      for (const old of this.#policies.keys()) if (old < step) this.#policies.delete(old);
      const clock = new StepClock();
      const options = { ...this.#options, signal: cancelled };
      const fed = await feedOne(options, { number, step: number * perRollout, clock });
      const lag = number * perRollout - step;
      const rollout = { ...fed, number, lag, samplingMs: clock.spent('sampling') };
      this.#buffer.put(rollout);
      this.#ready.set(number, rollout);
      this.#next = number + 1;
      this.#changed();
    }
  }

  /** Resolves once a condition holds; rejects when sampling has failed. */
  async #until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake.push(resolve);
      });
    }
  }

  #changed(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}
