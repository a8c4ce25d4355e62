/**
 * What the policy answers to a few fixed prompts while a stage trains it: greedy samples for `samples.jsonl`, in the
 * form that reinforcement learning logs its own, so that whoever shows one shows the other.
 *
 * Greedy decoding of the same weights gives the same text, so the log is part of what a killed run ends with to the
 * byte.
 */
import type { Learner, Sample, Sampler } from '../interfaces.ts';
import { composeRewards, type RewardTerm } from '../rewards/compose.ts';
import type { RlPrompt } from './prompt-source.ts';
import type { SampleLines } from './stage-run.ts';

export interface HeldOutSamplesOptions {
  readonly sampler: Sampler;
  /** Whose policy it is. */
  readonly learner: Pick<Learner, 'exportForSampler'>;
  /** The same at every checkpoint; held out of the training data. */
  readonly prompts: readonly RlPrompt[];
  /** What the answers are worth; default: no rewards. */
  readonly rewards?: readonly RewardTerm[];
  readonly decode: (tokens: readonly number[]) => string;
  readonly stopTokenIds: readonly number[];
  readonly maxNewTokens: number;
}

/**
 * The `samples` of a stage.
 *
 * @example
 * const samples = heldOutSamples({ ...local, prompts, rewards, maxNewTokens: 256 });
 * await trainSft({ ...local, source, config, samples, folder: 'runs/first' });
 */
export function heldOutSamples(options: HeldOutSamplesOptions): SampleLines {
  const { sampler, learner, prompts, rewards, decode, stopTokenIds, maxNewTokens } = options;
  const score = rewards && composeRewards(rewards);
  return async (step) => {
    await sampler.update(await learner.exportForSampler());
    const samples = await sampler.sample({
      ...{ prompts: prompts.map(({ tokens }) => tokens), samplesPerPrompt: 1, maxNewTokens, stopTokenIds },
      ...{ temperature: 0, topP: 1, topK: 0, seed: 0 },
    });
    return Promise.all(
      prompts.map(async ({ input }, p) => {
        const { tokens, finish, policyVersion } = samples[p] as Sample;
        const completion = decode(finish === 'stop' ? tokens.slice(0, -1) : tokens);
        const scored = await score?.([{ ...input, completion, length: tokens.length }]);
        const names = Object.entries(scored?.columns ?? {});
        return {
          global_step: step,
          id: `held-out.${p}`,
          prompt: input.prompt,
          completion,
          rewards: Object.fromEntries(names.map(([name, column]) => [name, column[0] ?? null])),
          reward: scored?.totals[0] ?? null,
          finish,
          length: tokens.length,
          policy_version: policyVersion,
        };
      }),
    );
  };
}
