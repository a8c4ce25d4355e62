/** What `trainGrpo` takes, and the line of metrics it gives for each step. */
import type { Learner, Sampler } from '../interfaces.ts';
import type { RlConfig } from '../objectives/index.ts';
import type { RewardTerm } from '../rewards/compose.ts';
import type { ValueLearner } from '../score-learner.ts';
import type { EnvironmentOptions } from './episodes.ts';
import type { RolloutMetrics } from './grpo-metrics.ts';
import type { PromptSource } from './prompt-source.ts';
import type { Reference } from './reference.ts';

/** One line of `metrics.jsonl`; the names are listed in the package's README. */
export type GrpoMetrics = RolloutMetrics & { readonly global_step: number };

export interface GrpoOptions {
  readonly sampler: Sampler;
  readonly learner: Learner;
  /** Needed where the configuration has a `beta` or `rewardBeta` above 0. */
  readonly reference?: Reference | undefined;
  /** Needed where the configuration has a `critic`; used there only. */
  readonly critic?: ValueLearner | undefined;
  readonly prompts: PromptSource;
  /** Terms of the reward; as a function, of the optimiser steps taken before the rollout. */
  readonly rewards: readonly RewardTerm[] | ((step: number) => readonly RewardTerm[]);
  /** Text of a completion's ids, for rewards and logs. */
  readonly decode: (tokens: readonly number[]) => string;
  /** Ids of a text, for what an environment writes. */
  readonly encode?: (text: string) => ArrayLike<number>;
  /** Answers the policy between its turns: tools, games, another speaker. Default: completions of one turn. */
  readonly environment?: EnvironmentOptions | undefined;
  /** Ids that end a completion. */
  readonly stopTokenIds: readonly number[];
  readonly config: RlConfig;
  /** Optimiser steps of the whole run. */
  readonly steps: number;
  /**
   * Optimiser steps by which the policy that sampled may lag behind the one that begins to learn from it. 0, the
   * default: synchronous, exactly on-policy. Above 0 rollouts are sampled while others are learnt from: the sampler has
   * to run elsewhere (`WorkerSampler`, a server), the learner's policies go to it as folders (`ExportingLearner`), and a
   * configuration without a correction gets truncated importance sampling at 2, by token.
   */
  readonly maxStaleness?: number;
  /** Whole number from 0: equal seeds give equal runs. */
  readonly seed: number;
  /** For checkpoints, metrics and samples; an earlier run in it is continued. */
  readonly folder: string;
  /** Optimiser steps between checkpoints. Default 50. */
  readonly checkpointEvery?: number;
  /** Samples logged for each rollout. Default 4. */
  readonly samplesPerRollout?: number;
  readonly onStep?: (metrics: GrpoMetrics) => void;
  /**
   * Ends the run, as complete, at the first rollout's end whose last line of metrics it holds for; must depend on that
   * line alone, clocks apart. For budgets that are no number of steps, such as tokens.
   */
  readonly stopWhen?: (metrics: GrpoMetrics) => boolean;
  /** Draw a progress line on stderr. */
  readonly progress?: boolean;
  /** Ends the run, with a checkpoint; rejects with `aborted`. */
  readonly signal?: AbortSignal | undefined;
}
