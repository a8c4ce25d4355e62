/**
 * The configuration of a reinforcement-learning stage as plain data, and its validation.
 *
 * It says what is computed, not on what: prompts, rewards, model and sampler are given beside it. Lengths are in
 * tokens, counts are of one optimiser step unless they say otherwise.
 */
import { MinkeError } from '@minke/core';
import { type Schedule, scheduleProblems } from '../schedule.ts';
import type { AdvantageConfig } from './advantages.ts';
import type { PolicyLoss } from './policy-losses.ts';
import type { PolicyObjective } from './policy-objective.ts';

/** Estimators that differ from token to token. */
export type TokenAdvantageConfig =
  | { readonly name: 'reinforce++' /** Discount of later rewards, in (0, 1]. */; readonly gamma: number }
  | {
      readonly name: 'gae';
      /** Discount, in (0, 1]; 1 for language models. */
      readonly gamma: number;
      /** Between one-step (0) and whole returns (1). */
      readonly lambda: number;
    };

export interface RlConfig {
  readonly objective: PolicyObjective;
  readonly advantage: AdvantageConfig | TokenAdvantageConfig;
  /** How several rewards become one; `normalize_then_sum` gives the advantages itself and needs grpo. */
  readonly rewardAggregation: 'sum_then_normalize' | 'normalize_then_sum';
  /** Weight of k1 in the reward; 0 for none. With estimators over tokens on each token, else on the sample. */
  readonly rewardBeta: number;
  /** Samples of each prompt, G. */
  readonly groupSize: number;
  /** Distinct prompts of one optimiser step. */
  readonly promptsPerStep: number;
  /** Optimiser steps for each rollout: so many times `promptsPerStep` prompts are sampled together. */
  readonly minibatches: number;
  /** Passes over each rollout. */
  readonly innerEpochs: number;
  /** Of sampling, above 0, and of all log-probabilities. */
  readonly temperature: number;
  /** Length limit of a completion. */
  readonly maxCompletionLength: number;
  /** Peak, of AdamW. */
  readonly learningRate: number;
  /** Of the learning rate over the run's optimiser steps. */
  readonly schedule: Schedule;
  /** Global norm to which gradients are clipped. */
  readonly maxGradNorm: number;
  /** Optimiser steps after which the reference becomes the policy; 0 for never. */
  readonly referenceEvery: number;
  /** Refills with new prompts at most for each step, in place of groups whose rewards are all equal; 0 keeps them. */
  readonly maxRefills: number;
  /** Soft penalty over the last so many tokens before the limit (DAPO); 0 for none. */
  readonly overlongTokens: number;
  /** Token rows of one forward-backward pass, at most, in whole sequences; a longer sequence goes alone. */
  readonly tokensPerMicroBatch: number;
  /** Leave completions cut by the limit out of the loss. */
  readonly maskTruncated: boolean;
  /** The value model of PPO, for gae. */
  readonly critic: CriticConfig | null;
}

/** How the critic learns; its loss is aggregated as the policy's. */
export interface CriticConfig {
  /** Peak, of its own AdamW, on the policy's schedule. */
  readonly learningRate: number;
  /** How far a value may move with profit from the one at the rollout; null for any way. */
  readonly epsilon: number | null;
  /** Optimiser steps at the beginning in which only the critic learns, rounded up to whole rollouts. */
  readonly warmupSteps: number;
}

/** Returns the configuration, or throws `invalid-config` naming every problem. */
export function validateRl(config: RlConfig): RlConfig {
  const problems = [
    ...numberProblems(config),
    ...scheduleProblems(config.schedule),
    ...lossProblems(config.objective.loss),
    ...objectiveProblems(config.objective),
    ...advantageProblems(config),
    ...(config.critic === null ? [] : criticProblems(config.critic)),
  ];
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `validateRl: expected ${problems.join('; ')}`);
  return config;
}

function numberProblems(config: RlConfig): string[] {
  const problems: string[] = [];
  for (const name of [
    'groupSize',
    'promptsPerStep',
    'minibatches',
    'innerEpochs',
    'maxCompletionLength',
    'tokensPerMicroBatch',
  ] as const)
    if (!Number.isSafeInteger(config[name]) || config[name] < 1)
      problems.push(`${name} a positive integer, got ${config[name]}`);
  for (const name of ['referenceEvery', 'maxRefills', 'overlongTokens'] as const)
    if (!Number.isSafeInteger(config[name]) || config[name] < 0)
      problems.push(`${name} a whole number of at least 0, got ${config[name]}`);
  for (const name of ['temperature', 'learningRate', 'maxGradNorm'] as const)
    if (!(Number.isFinite(config[name]) && config[name] > 0))
      problems.push(`${name} above 0, got ${config[name]}`);
  if (!(Number.isFinite(config.rewardBeta) && config.rewardBeta >= 0))
    problems.push(`rewardBeta of at least 0, got ${config.rewardBeta}`);
  if (config.overlongTokens >= config.maxCompletionLength)
    problems.push(
      `overlongTokens below maxCompletionLength ${config.maxCompletionLength}, got ${config.overlongTokens}`,
    );
  return problems;
}

const within = (name: string, value: number, least: number): string[] =>
  value >= least ? [] : [`${name} of at least ${least}, got ${value}`];
const above = (name: string, value: number, bound: number): string[] =>
  value > bound ? [] : [`${name} above ${bound}, got ${value}`];

function lossProblems(loss: PolicyLoss): string[] {
  switch (loss.name) {
    case 'clip':
      return [
        ...within('epsilonLow', loss.epsilonLow, 0),
        ...within('epsilonHigh', loss.epsilonHigh, 0),
        ...(loss.delta === undefined ? [] : above('delta', loss.delta, 1 + loss.epsilonHigh)),
        ...(loss.dualClip === undefined ? [] : above('dualClip', loss.dualClip, 1)),
      ];
    case 'gmpo':
      return [...within('epsilonLow', loss.epsilonLow, 0), ...within('epsilonHigh', loss.epsilonHigh, 0)];
    case 'cispo':
      return above('ratioMax', loss.ratioMax, 0);
    case 'sapo':
      return [
        ...above('temperaturePositive', loss.temperaturePositive, 0),
        ...above('temperatureNegative', loss.temperatureNegative, 0),
      ];
    case 'vespo':
      return [
        ...above('lambdaPositive', loss.lambdaPositive, 0),
        ...above('lambdaNegative', loss.lambdaNegative, 0),
        ...within('kPositive', loss.kPositive, 0),
        ...within('kNegative', loss.kNegative, 0),
      ];
    case 'reinforce':
      return [];
    default:
      return [
        `a loss named clip, gmpo, cispo, sapo, vespo or reinforce, got ${(loss as { name: unknown }).name}`,
      ];
  }
}

function objectiveProblems(objective: PolicyObjective): string[] {
  const { correction, offPolicyThreshold } = objective;
  return [
    ...within('beta', objective.beta, 0),
    ...within('entropyCoefficient', objective.entropyCoefficient, 0),
    ...(offPolicyThreshold === null ? [] : above('offPolicyThreshold', offPolicyThreshold, 0)),
    ...(correction === null
      ? []
      : [
          ...within('correction.low', correction.low ?? 0, 0),
          ...above('correction.high', correction.high, correction.low ?? 0),
        ]),
  ];
}

function advantageProblems(config: RlConfig): string[] {
  const { advantage, critic, groupSize, rewardAggregation } = config;
  const problems: string[] = [];
  if (groupSize === 1 && !['remax', 'reinforce++', 'gae'].includes(advantage.name))
    problems.push(
      `groupSize of 2 or more for ${advantage.name}, which compares samples of one prompt, got 1`,
    );
  if ((advantage.name === 'gae') !== (critic !== null))
    problems.push(
      `a critic with gae and none without, got ${advantage.name} with ${critic ? 'one' : 'none'}`,
    );
  if (groupSize === 1 && config.maxRefills > 0 && advantage.name !== 'remax')
    problems.push(
      `maxRefills of 0 with a groupSize of 1, which has no rewards to compare, got ${config.maxRefills}`,
    );
  if (rewardAggregation === 'normalize_then_sum' && advantage.name !== 'grpo')
    problems.push(`normalize_then_sum with grpo, got ${advantage.name}`);
  if ('epsilon' in advantage) problems.push(...above('advantage.epsilon', advantage.epsilon, 0));
  if ('gamma' in advantage && !(advantage.gamma > 0 && advantage.gamma <= 1))
    problems.push(`gamma in (0, 1], got ${advantage.gamma}`);
  if ('lambda' in advantage && !(advantage.lambda >= 0 && advantage.lambda <= 1))
    problems.push(`lambda in [0, 1], got ${advantage.lambda}`);
  return problems;
}

function criticProblems({ learningRate, epsilon, warmupSteps }: CriticConfig): string[] {
  const problems: string[] = [];
  if (!(Number.isFinite(learningRate) && learningRate > 0))
    problems.push(`critic.learningRate above 0, got ${learningRate}`);
  if (epsilon !== null && !(Number.isFinite(epsilon) && epsilon >= 0))
    problems.push(`critic.epsilon of at least 0, or null, got ${epsilon}`);
  if (!Number.isSafeInteger(warmupSteps) || warmupSteps < 0)
    problems.push(`critic.warmupSteps a whole number of at least 0, got ${warmupSteps}`);
  return problems;
}
