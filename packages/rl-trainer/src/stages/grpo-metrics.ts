/**
 * A line of `metrics.jsonl` of a policy-gradient stage, under TRL's names, and lines of `samples.jsonl`.
 *
 * Figures of rewards and completions are those of the whole rollout, which several optimiser steps may share; the
 * others are those of the step. Ours beside TRL's: `policy/version`, the one that sampled; `rollout/logprob_diff_max`,
 * sampler against learner before the first update, 0 where both compute the same bits; `dynamic_sampling/refills`;
 * `greedy_reward` of ReMax's baselines; `max_vio` and `dead_experts`. With an environment TRL's `tools/call_frequency`
 * (replies a completion) and `tools/failure_frequency` (of the replies), verl's `num_turns/*`, prime-rl's
 * `errored_rollouts`. Figures of a critic have verl's names.
 */
import type { Sample, TrainingSequence } from '../interfaces.ts';
import {
  type CriticConfig,
  type RlConfig,
  stepMetrics,
  valueLossMetrics,
  valueMetrics,
} from '../objectives/index.ts';
import { meanOf, scored } from '../objectives/statistics.ts';
import type { NumberColumn } from '../packed-sequences.ts';
import type { RewardTerm } from '../rewards/compose.ts';
import type { EpisodeOutcome } from '../rewards/episode-outcome.ts';
import { rewardMetrics } from '../rewards/reward-metrics.ts';
import type { CriticUpdate } from './critic-update.ts';
import { counted, countedLength } from './masked.ts';
import type { JudgedSample, MiniBatch } from './mini-batches.ts';
import type { PolicyUpdate } from './policy-update.ts';
import type { Rollout } from './rollout.ts';

export type RolloutMetrics = Readonly<Record<string, number | null>>;

/** Rewards and completions of a rollout. */
export function rolloutMetrics(
  { sampled, refills }: Rollout,
  terms: readonly RewardTerm[],
  maxRefills: number,
): RolloutMetrics {
  const samples = sampled.flatMap((group) => group.samples);
  const greedy = sampled.flatMap((group) => (group.greedy === undefined ? [] : [group.greedy.reward]));
  return {
    ...rewardMetrics(
      sampled.map((group) => group.scored),
      terms,
    ),
    // A single sample's group always has equal rewards.
    ...(samples.length === sampled.length && { frac_reward_zero_std: null }),
    ...(greedy.length > 0 && { greedy_reward: scored(greedy).length > 0 ? meanOf(scored(greedy)) : null }),
    ...completionMetrics(samples),
    ...episodeMetrics(sampled.flatMap(({ episodes = [] }) => episodes)),
    ...(maxRefills > 0 && { 'dynamic_sampling/refills': refills }),
    'policy/version': samples.reduce((least, { policyVersion }) => Math.min(least, policyVersion), Infinity),
  };
}

function completionMetrics(samples: readonly Sample[]): Record<string, number | null> {
  const lengthsOf = (some: readonly Sample[]) => some.map(({ tokens, mask }) => countedLength(tokens, mask));
  const of = (name: string, lengths: readonly number[]) => {
    const none = lengths.length === 0;
    return {
      [`completions/mean_${name}`]: none ? null : meanOf(lengths),
      [`completions/min_${name}`]: none ? null : lengths.reduce((a, b) => Math.min(a, b)),
      [`completions/max_${name}`]: none ? null : lengths.reduce((a, b) => Math.max(a, b)),
    };
  };
  const ended = samples.filter(({ finish }) => finish === 'stop');
  return {
    ...of('length', lengthsOf(samples)),
    ...of('terminated_length', lengthsOf(ended)),
    'completions/clipped_ratio': 1 - ended.length / samples.length,
  };
}

/** What environments were asked; nothing where there are none. */
function episodeMetrics(episodes: readonly EpisodeOutcome[]): Record<string, number> {
  if (episodes.length === 0) return {};
  const sum = (name: 'calls' | 'failures') => episodes.reduce((total, episode) => total + episode[name], 0);
  const turns = episodes.map((episode) => episode.turns);
  return {
    'tools/call_frequency': sum('calls') / episodes.length,
    'tools/failure_frequency': sum('calls') === 0 ? 0 : sum('failures') / sum('calls'),
    'num_turns/mean': meanOf(turns),
    'num_turns/min': turns.reduce((a, b) => Math.min(a, b)),
    'num_turns/max': turns.reduce((a, b) => Math.max(a, b)),
    errored_rollouts: episodes.filter(({ problem }) => problem !== null).length,
  };
}

/** What an update did. */
export function updateMetrics(
  { sequences, oldLogProbs }: MiniBatch,
  update: PolicyUpdate,
  { objective }: RlConfig,
): Record<string, number> {
  const all = (name: NumberColumn) => columnOf(sequences, name);
  const record = {
    lengths: update.logProbs.map(({ length }) => length),
    logProbs: update.logProbs.flat(),
    oldLogProbs: (oldLogProbs ?? update.logProbs).flat(),
    advantages: all('advantages'),
    samplingLogProbs: all('samplingLogProbs'),
    entropies: update.entropies.flat(),
    ...(sequences[0]?.refLogProbs && { refLogProbs: all('refLogProbs') }),
  };
  return {
    loss: update.loss,
    grad_norm: update.step.gradNorm,
    ...stepMetrics(record, objective.loss, objective.klEstimator),
    ...update.step.metrics,
  };
}

/** What the critic knew of the rollout; nothing without one. */
export function criticMetrics(batches: readonly MiniBatch[]): Record<string, number> {
  const sequences = batches.flatMap((batch) => batch.sequences);
  if (sequences[0]?.returns === undefined) return {};
  return valueMetrics({
    ...valueColumns(sequences),
    advantages: columnOf(sequences, 'advantages'),
  });
}

/** What an update of the critic did. */
export function criticUpdateMetrics(
  { sequences }: MiniBatch,
  { loss, values, step }: CriticUpdate,
  { epsilon }: CriticConfig,
  learningRate: number,
): Record<string, number> {
  const own = Object.entries(step.metrics).map(([name, value]) => [`critic/${name}`, value] as const);
  return {
    'critic/vf_loss': loss,
    'critic/grad_norm': step.gradNorm,
    'critic/lr': learningRate,
    ...valueLossMetrics(values.flat(), valueColumns(sequences), epsilon),
    ...Object.fromEntries(own),
  };
}

const valueColumns = (sequences: readonly TrainingSequence[]) => ({
  values: columnOf(sequences, 'values'),
  returns: columnOf(sequences, 'returns'),
});

/** Numbers of the tokens that count. */
const columnOf = (sequences: readonly TrainingSequence[], name: NumberColumn) =>
  sequences.flatMap(({ mask, [name]: column = [] }) => counted(column, mask));

/** Lines of `samples.jsonl`: `count` samples, evenly over the rollout. */
export function sampleLines(
  samples: readonly JudgedSample[],
  step: number,
  count: number,
): Record<string, unknown>[] {
  const shown = Math.min(count, samples.length);
  return Array.from({ length: shown }, (_, k) => {
    const judged = samples[Math.floor((k * samples.length) / shown)] as JudgedSample;
    const { prompt, completion, episode, scores, total, advantages, sample } = judged;
    return {
      global_step: step,
      id: judged.id,
      prompt: prompt.input.prompt,
      completion,
      ...(episode && { parts: episode.parts, turns: episode.turns, problem: episode.problem }),
      rewards: scores,
      reward: total,
      advantage: meanOf(advantages),
      finish: sample.finish,
      length: countedLength(sample.tokens, sample.mask),
      policy_version: sample.policyVersion,
    };
  });
}

/** A line of `journal.jsonl`: which samples a rollout gave to learn from, and which were left out. */
export function journalLine(
  { groups, sampled }: Rollout,
  { step, rollouts, lag }: { readonly step: number; readonly rollouts: number; readonly lag: number },
): Record<string, unknown> {
  const idsOf = (some: Rollout['groups']) =>
    some.flatMap(({ id, samples }) => samples.map((_, i) => `${id}.${i}`));
  return {
    rollout: rollouts,
    global_step: step,
    lag,
    policy_version: Math.min(...sampled.map(({ samples }) => samples[0]?.policyVersion ?? 0)),
    used: idsOf(groups),
    left_out: idsOf(sampled.filter((group) => !groups.includes(group))),
  };
}
