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
import type { Sample, SampleRequest, Sampler } from '../interfaces.ts';
import type { RlConfig } from '../objectives/index.ts';
import { allEqual, type Score, scored } from '../objectives/statistics.ts';
import { composeRewards, type RewardTerm, type ScoredGroup } from '../rewards/compose.ts';
import type { EpisodeOutcome } from '../rewards/episode-outcome.ts';
import { softOverlongReward } from '../rewards/length.ts';
import { type EnvironmentOptions, sampleEpisodes } from './episodes.ts';
import { countedLength } from './masked.ts';
import type { PromptSource, RlPrompt } from './prompt-source.ts';
import type { StepClock } from './step-clock.ts';

/** The samples of one prompt and what they were worth. */
export interface RolloutGroup {
  /** Of the run's rollout and of the prompt in it: `12.3`. A sample's is the group's and its place: `12.3.0`. */
  readonly id: string;
  readonly prompt: RlPrompt;
  readonly samples: readonly Sample[];
  /** Texts of the samples, without the stop token. */
  readonly completions: readonly string[];
  /** How the samples' episodes went, where there is an environment. */
  readonly episodes?: readonly EpisodeOutcome[];
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
  /** Needed beside an environment. */
  readonly encode?: ((text: string) => ArrayLike<number>) | undefined;
  readonly environment?: EnvironmentOptions | undefined;
  readonly stopTokenIds: readonly number[];
  readonly config: RlConfig;
  /** Of the rollout in its run, from 0. */
  readonly number: number;
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
  const sampled = await sampleGroups(options, { first: 0, count: wanted }, score);
  const useful = sampled.filter(teaches);
  let refills = 0;
  for (; useful.length < wanted && refills < config.maxRefills; refills++) {
    const more = await sampleGroups(options, { first: sampled.length, count: wanted - useful.length }, score);
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
  options: RolloutOptions,
  { first, count }: { readonly first: number; readonly count: number },
  score: ReturnType<typeof composeRewards>,
): Promise<RolloutGroup[]> {
  const { prompts, config, clock, random } = options;
  const { groupSize, temperature } = config;
  const asked = Array.from({ length: count }, () => prompts.next());
  const seed = random.integer(0, 2 ** 32);
  const sample = (some: Pick<SampleRequest, 'samplesPerPrompt' | 'temperature'>) =>
    clock.time('sampling', () => sampleAll(asked, { ...some, seed }, options));
  const sampled = await sample({ samplesPerPrompt: groupSize, temperature });
  const greedy =
    config.advantage.name === 'remax' ? await sample({ samplesPerPrompt: 1, temperature: 0 }) : [];
  return clock.time('rewards', () =>
    Promise.all(
      asked.map(async (prompt, p): Promise<RolloutGroup> => {
        const own = sampled.slice(p * groupSize, (p + 1) * groupSize);
        const baseline = greedy[p];
        const episodes = own.flatMap(({ outcome }) => outcome ?? []);
        return {
          id: `${options.number}.${first + p}`,
          prompt,
          samples: own.map(({ sample }) => sample),
          completions: own.map(({ completion }) => completion),
          ...(episodes.length > 0 && { episodes }),
          scored: await judge(prompt, own, score),
          ...(baseline && {
            greedy: {
              sample: baseline.sample,
              reward: (await judge(prompt, [baseline], score)).totals[0] as Score,
            },
          }),
        };
      }),
    ),
  );
}

/** A sample with its text, as rewards see it. */
interface SampledText {
  readonly sample: Sample;
  readonly completion: string;
  readonly outcome?: EpisodeOutcome;
}

async function judge(
  { input }: RlPrompt,
  own: readonly SampledText[],
  score: ReturnType<typeof composeRewards>,
): Promise<ScoredGroup> {
  const inputs = own.map(({ sample, completion, outcome }) => ({
    ...input,
    completion,
    length: countedLength(sample.tokens, sample.mask),
    ...(outcome && { episode: outcome }),
  }));
  const { totals, columns } = await score(inputs);
  // Whatever else was rewarded: nobody knows what the completion was worth when its environment failed.
  return { totals: totals.map((total, i) => (own[i]?.outcome?.problem ? null : total)), columns };
}

async function sampleAll(
  asked: readonly RlPrompt[],
  some: Pick<SampleRequest, 'samplesPerPrompt' | 'temperature' | 'seed'>,
  { sampler, decode, encode, environment, stopTokenIds, config, signal }: RolloutOptions,
): Promise<SampledText[]> {
  const request = { ...some, maxNewTokens: config.maxCompletionLength, topP: 1, topK: 0, stopTokenIds };
  if (environment !== undefined && encode !== undefined) {
    const episodes = await sampleEpisodes(asked, request, { sampler, environment, encode, decode, signal });
    return episodes.map(({ sample, outcome }) => {
      const own = outcome.parts.filter(({ from }) => from === 'model');
      return { sample, outcome, completion: own.map(({ text }) => text).join('\n') };
    });
  }
  const samples = await sampler.sample({ ...request, prompts: asked.map(({ tokens }) => tokens) }, signal);
  return samples.map((sample) => ({
    sample,
    completion: decode(sample.finish === 'stop' ? sample.tokens.slice(0, -1) : sample.tokens),
  }));
}
