/**
 * From a rollout to what policy and critic get: advantages and returns, log-probabilities of the reference and of the
 * old policy, values, and the sequences of each mini-batch, groups in the order they were sampled.
 *
 * A completion without a reward leaves the batch as if it had not been sampled. One that the length limit cut leaves
 * the loss too where `maskTruncated` says so, but still counts in means over sequences, as in TRL. Old
 * log-probabilities are left out where the policy is still the one that sampled: the learner's own stand for them; where
 * the sampler's are exact, those are taken.
 */
import { check } from '@minke/core';
import type { Learner, Sample, TrainingSequence } from '../interfaces.ts';
import { type RewardTable, type RlConfig, stepAdvantages } from '../objectives/index.ts';
import { split } from '../packed-sequences.ts';
import type { RewardTerm } from '../rewards/compose.ts';
import type { EpisodeOutcome } from '../rewards/episode-outcome.ts';
import type { ValueLearner } from '../score-learner.ts';
import { valuesOf } from './critic-update.ts';
import { counted, countedLength, spreadOver } from './masked.ts';
import { forwardAll } from './policy-update.ts';
import type { RlPrompt } from './prompt-source.ts';
import type { Reference } from './reference.ts';
import type { Rollout } from './rollout.ts';
import type { StepClock } from './step-clock.ts';

/** A sample with everything known of it. */
export interface JudgedSample {
  readonly id: string;
  readonly prompt: RlPrompt;
  readonly sample: Sample;
  readonly completion: string;
  /** Where there is an environment. */
  readonly episode: EpisodeOutcome | undefined;
  /** Unweighted scores by name. */
  readonly scores: Readonly<Record<string, number | null>>;
  readonly total: number | null;
  /** Of the tokens that count; those of estimators over samples are all equal. */
  readonly advantages: readonly number[];
}

export interface MiniBatch {
  readonly sequences: readonly TrainingSequence[];
  /** Completions that means over sequences count. */
  readonly counted: number;
  /** Of the tokens that count of each sequence; undefined where they are the learner's own at its next update. */
  readonly oldLogProbs: readonly (readonly number[])[] | undefined;
}

export interface PreparedRollout {
  readonly samples: readonly JudgedSample[];
  readonly miniBatches: readonly MiniBatch[];
  /** Tokens computed without gradient, by the reference and for old log-probabilities. */
  readonly forwarded: number;
}

export interface PrepareOptions {
  readonly learner: Learner;
  /** Whether the samples' log-probabilities are the learner's: `Sampler.exact`, and no update since. */
  readonly exact: boolean;
  readonly reference: Reference | undefined;
  /** Where the configuration has one. */
  readonly critic: ValueLearner | undefined;
  readonly config: RlConfig;
  readonly terms: readonly RewardTerm[];
  readonly clock: StepClock;
}

/** Throws `invalid-argument` when a mini-batch has nothing to learn from. */
export async function prepare({ groups }: Rollout, options: PrepareOptions): Promise<PreparedRollout> {
  const { learner, exact, reference, critic, config, clock } = options;
  const { objective, rewardBeta, groupSize, minibatches, promptsPerStep, maskTruncated } = config;
  const flat = groups.flatMap((group) =>
    group.samples.map((sample, i) => ({ group, sample, i, total: group.scored.totals[i] ?? null })),
  );
  const sequences = flat.map(
    ({ group: { prompt }, sample }): TrainingSequence => ({
      tokens: [...prompt.tokens, ...sample.tokens],
      completionStart: prompt.tokens.length,
      samplingLogProbs: sample.logProbs,
      ...(sample.mask && { mask: sample.mask }),
    }),
  );
  const learns = flat.map(
    ({ sample, total }) => total !== null && !(maskTruncated && sample.finish === 'length'),
  );
  const size = promptsPerStep * groupSize;
  let forwarded = 0;
  /** Rows of a model's log-probabilities for the samples that `wanted` names; empty rows for the others. */
  const rowsOf = async (model: Pick<Learner, 'forward'>, wanted: (i: number) => boolean) => {
    const chosen = sequences.flatMap((_, i) => (wanted(i) ? [i] : []));
    const wantedOnes = chosen.map((i) => sequences[i] as TrainingSequence);
    forwarded += wantedOnes.reduce((sum, { tokens }) => sum + tokens.length, 0);
    const rows = await forwardAll(model, wantedOnes, config);
    const all: (readonly number[])[] = sequences.map(() => []);
    for (const [at, i] of chosen.entries()) all[i] = rows[at] as readonly number[];
    return all;
  };
  const inReward = rewardBeta > 0;
  const refs =
    objective.beta > 0 || inReward
      ? await clock.time('reference', () => rowsOf(reference as Reference, (i) => inReward || !!learns[i]))
      : undefined;
  const oldRows = () =>
    exact
      ? flat.map(({ sample: { logProbs, mask } }) => counted(logProbs, mask))
      : clock.time('update', () => rowsOf(learner, (i) => inReward || (!!learns[i] && i >= size)));
  const olds = minibatches > 1 || inReward ? await oldRows() : undefined;
  const values = critic && (await clock.time('critic', () => valuesOf(critic, sequences, config)));
  const lengths = flat.map(({ sample }) => countedLength(sample.tokens, sample.mask));
  const policies = olds && refs && inReward ? { logProbs: olds.flat(), refLogProbs: refs.flat() } : undefined;
  const greedyRewards = groups.flatMap(({ greedy }) => (greedy === undefined ? [] : [greedy.reward]));
  const step = stepAdvantages(
    {
      ...{ table: tableOf(groups, options), lengths, ...policies, greedyRewards },
      ...(values && { values: values.flat() }),
    },
    config,
  );
  const advantages = split(step.advantages, lengths);
  const returns = step.returns && split(step.returns, lengths);
  const samples = flat.map(
    ({ group, sample, i, total }, at): JudgedSample => ({
      id: `${group.id}.${i}`,
      prompt: group.prompt,
      sample,
      completion: group.completions[i] as string,
      episode: group.episodes?.[i],
      scores: Object.fromEntries(
        Object.entries(group.scored.columns).map(([name, column]) => [name, column[i] ?? null]),
      ),
      total,
      advantages: advantages[at] as readonly number[],
    }),
  );
  const miniBatches = Array.from({ length: minibatches }, (_, m): MiniBatch => {
    const members = flat.flatMap((_, i) => (Math.floor(i / size) === m && learns[i] ? [i] : []));
    const part = flat.slice(m * size, (m + 1) * size);
    check(
      members.length > 0,
      () =>
        `trainGrpo: expected completions to learn from, got ${part.length} of which ${part.filter(({ total }) => total === null).length} have no reward and the rest were cut by the length limit; look at the rewards, raise maxCompletionLength${problemOf(groups)}`,
    );
    return {
      counted: part.filter(({ total }) => total !== null).length,
      sequences: members.map((i) => {
        const spread = (rows: readonly (readonly number[])[]) =>
          spreadOver(rows[i] as readonly number[], flat[i]?.sample.mask);
        return {
          ...(sequences[i] as TrainingSequence),
          advantages: spread(advantages),
          ...(refs && { refLogProbs: spread(refs) }),
          ...(values && { values: spread(values) }),
          ...(returns && { returns: spread(returns) }),
        };
      }),
      oldLogProbs: olds && (m > 0 || inReward) ? members.map((i) => olds[i] as readonly number[]) : undefined,
    };
  });
  return { samples, miniBatches, forwarded };
}

/** What the first environment that failed said, to be added to a message. */
function problemOf(groups: Rollout['groups']): string {
  const failed = groups.flatMap(({ episodes = [] }) => episodes.flatMap(({ problem }) => problem ?? []));
  return failed.length === 0 ? '' : `; ${failed.length} environments failed, the first with: ${failed[0]}`;
}

/** The totals as one reward, or each term by itself where the configuration normalises before it sums. */
function tableOf(groups: Rollout['groups'], { config, terms }: PrepareOptions): RewardTable {
  const { groupSize, rewardAggregation } = config;
  const totals = groups.flatMap(({ scored }) => scored.totals);
  if (rewardAggregation === 'sum_then_normalize') return { names: ['reward'], rewards: [totals], groupSize };
  const names = Object.keys(groups[0]?.scored.columns ?? {});
  return {
    names,
    rewards: names.map((name) =>
      groups
        .flatMap(({ scored }) => scored.columns[name] ?? [])
        .map((score, i) => (totals[i] === null ? null : score)),
    ),
    weights: names.map((name) => terms.find((term) => term.name === name)?.weight ?? 1),
    groupSize,
  };
}
