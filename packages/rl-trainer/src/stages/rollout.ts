/**
 * One rollout: prompts, a group of samples for each, their rewards.
 *
 * Dynamic sampling (DAPO, https://arxiv.org/abs/2503.14476, section 3.2): groups whose rewards are all equal teach
 * nothing, so up to `maxRefills` times as many new prompts are sampled as such groups are left; what is still missing
 * then is made up of those groups, and the batch keeps its size.
 *
 * ReMax (https://arxiv.org/abs/2310.10505) takes one more sample of each prompt, greedily, whose reward is the baseline of
 * the others and which is not learnt from.
 */
import type { Random } from '@minke/core';
import type { Sample, Sampler } from '../interfaces.ts';
import type { RlConfig } from '../objectives/index.ts';
import { allEqual, type Score, scored } from '../objectives/statistics.ts';
import { composeRewards, type RewardTerm, type ScoredGroup } from '../rewards/compose.ts';
import { softOverlongReward } from '../rewards/length.ts';
import type { PromptSource, RlPrompt } from './prompt-source.ts';
import type { StepClock } from './step-clock.ts';

/** The samples of one prompt and what they were worth. */
export interface RolloutGroup {
  readonly prompt: RlPrompt;
  readonly samples: readonly Sample[];
  /** Texts of the samples, without the stop token. */
  readonly completions: readonly string[];
  readonly scored: ScoredGroup;
  /** The prompt's greedy sample and its reward, ReMax's baseline. */
  readonly greedy?: { readonly sample: Sample; readonly reward: Score };
}

export interface Rollout {
  /** To learn from: `promptsPerStep * minibatches` of them. */
  readonly groups: readonly RolloutGroup[];
  /** All that were sampled, those that were left out too. */
  readonly sampled: readonly RolloutGroup[];
  readonly refills: number;
}

export interface RolloutOptions {
  readonly sampler: Sampler;
  readonly prompts: PromptSource;
  readonly terms: readonly RewardTerm[];
  readonly decode: (tokens: readonly number[]) => string;
  readonly stopTokenIds: readonly number[];
  readonly config: RlConfig;
  /** Of this rollout; a rollout of the same number is the same. */
  readonly random: Random;
  readonly clock: StepClock;
  readonly signal?: AbortSignal | undefined;
}

/** Rejects with `aborted` after the signal, and with what sampler and rewards throw. */
export async function rollOut(options: RolloutOptions): Promise<Rollout> {
  const { config } = options;
  const wanted = config.promptsPerStep * config.minibatches;
  const score = composeRewards(termsOf(options));
  const sampled = await sampleGroups(options, wanted, score);
  const useful = sampled.filter(teaches);
  let refills = 0;
  for (; useful.length < wanted && refills < config.maxRefills; refills++) {
    const more = await sampleGroups(options, wanted - useful.length, score);
    sampled.push(...more);
    useful.push(...more.filter(teaches));
  }
  if (config.maxRefills === 0) return { groups: sampled, sampled, refills };
  const rest = sampled.filter((group) => !teaches(group)).slice(0, wanted - useful.length);
  return { groups: [...useful, ...rest], sampled, refills };
}

const teaches = ({ scored: { totals }, greedy }: RolloutGroup): boolean =>
  !allEqual(scored(greedy === undefined ? totals : [...totals, greedy.reward]));

/** The terms given, and the soft penalty near the length limit that the configuration asks for. */
function termsOf({ terms, config: { overlongTokens: cache, maxCompletionLength } }: RolloutOptions) {
  if (cache === 0) return terms;
  return [
    ...terms,
    { name: 'overlong', reward: softOverlongReward({ maxLength: maxCompletionLength, cache }) },
  ];
}

async function sampleGroups(
  { sampler, prompts, decode, stopTokenIds, config, random, clock, signal }: RolloutOptions,
  count: number,
  score: ReturnType<typeof composeRewards>,
): Promise<RolloutGroup[]> {
  const asked = Array.from({ length: count }, () => prompts.next());
  const request = {
    prompts: asked.map(({ tokens }) => tokens),
    samplesPerPrompt: config.groupSize,
    maxNewTokens: config.maxCompletionLength,
    temperature: config.temperature,
    topP: 1,
    topK: 0,
    stopTokenIds,
    seed: random.integer(0, 2 ** 32),
  };
  const samples = await clock.time('sampling', () => sampler.sample(request, signal));
  const greedy =
    config.advantage.name === 'remax'
      ? await clock.time('sampling', () =>
          sampler.sample({ ...request, samplesPerPrompt: 1, temperature: 0 }, signal),
        )
      : [];
  const judge = async ({ input }: RlPrompt, own: readonly Sample[]) => {
    const completions = own.map(({ tokens, finish }) =>
      decode(finish === 'stop' ? tokens.slice(0, -1) : tokens),
    );
    const inputs = own.map(({ tokens }, i) => ({
      ...input,
      completion: completions[i] as string,
      length: tokens.length,
    }));
    return { completions, scored: await score(inputs) };
  };
  return clock.time('rewards', () =>
    Promise.all(
      asked.map(async (prompt, p) => {
        const own = samples.slice(p * config.groupSize, (p + 1) * config.groupSize);
        const group = { prompt, samples: own, ...(await judge(prompt, own)) };
        const baseline = greedy[p];
        if (baseline === undefined) return group;
        const { totals } = (await judge(prompt, [baseline])).scored;
        return { ...group, greedy: { sample: baseline, reward: totals[0] as Score } };
      }),
    ),
  );
}
