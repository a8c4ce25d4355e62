/**
 * Where the next rollout comes from: sampled now by the policy of now, which is synchronous and on-policy, or ahead of
 * training (`rollouts-ahead.ts`).
 */
import { Random } from '@minke/core';
import type { Learner, Sampler } from '../interfaces.ts';
import type { RewardTerm } from '../rewards/compose.ts';
import type { PromptSource } from './prompt-source.ts';
import { type Rollout, type RolloutOptions, rollOut } from './rollout.ts';
import type { StepClock } from './step-clock.ts';

/** A rollout to learn from. */
export interface FedRollout {
  readonly rolled: Rollout;
  /** The prompts' position after it. */
  readonly source: unknown;
  /** Optimiser steps between the policy that sampled and the one that begins to learn. */
  readonly lag: number;
  /** Milliseconds that sampling it took, where nobody waited for it. */
  readonly samplingMs?: number;
}

/** Calls come one at a time: `next`, then `stepped` after each optimiser step, now and then `settle`. */
export interface RolloutFeed {
  /** @param number of the rollout, one more with each call; @param step optimiser steps taken */
  next(number: number, step: number, clock: StepClock): Promise<FedRollout>;
  /** @param step optimiser steps taken, this one included */
  stepped(step: number): Promise<void>;
  /** Before a checkpoint: all that only older policies can sample is sampled and on disk. */
  settle(step: number): Promise<void>;
  /** After a checkpoint: rollouts before this one are not needed any more. */
  forget(number: number): void;
  /** Ends what is under way. */
  close(): Promise<void>;
}

/** What every rollout of a run shares. */
export interface FeedOptions
  extends Omit<RolloutOptions, 'terms' | 'random' | 'clock' | 'number' | 'prompts' | 'sampler'> {
  readonly sampler: Sampler;
  readonly learner: Pick<Learner, 'exportForSampler'>;
  readonly prompts: PromptSource;
  readonly seed: number;
  /** Terms of the reward for a rollout that is learnt from after so many optimiser steps. */
  readonly termsAt: (step: number) => readonly RewardTerm[];
}

/** Samples a rollout of a number; a rollout of the same number by the same policy is the same. */
export async function feedOne(
  options: FeedOptions,
  { number, step, clock }: { readonly number: number; readonly step: number; readonly clock: StepClock },
): Promise<Pick<FedRollout, 'rolled' | 'source'>> {
  const { seed, termsAt, prompts } = options;
  const rolled = await rollOut({
    ...options,
    number,
    terms: termsAt(step),
    random: new Random(seed, number),
    clock,
  });
  return { rolled, source: prompts.state() };
}

/** Samples when asked, by the policy as it is then. */
export function synchronousFeed(options: FeedOptions): RolloutFeed {
  const { sampler, learner } = options;
  return {
    async next(number, step, clock) {
      await sampler.update(await learner.exportForSampler());
      return { ...(await feedOne(options, { number, step, clock })), lag: 0 };
    },
    stepped: async () => {},
    settle: async () => {},
    forget: () => {},
    close: async () => {},
  };
}
