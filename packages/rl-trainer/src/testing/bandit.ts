/**
 * For tests: a policy small enough to learn in seconds, and a task with one right token for each prompt.
 *
 * A prompt is `[1, k]`; the completion is right when it begins with k + 8. Token 0 ends a completion. Texts are ids
 * in words: `9 0`.
 */
import type { Backend } from '@minke/core';
import { Engine } from '@minke/inference';
import { Arena } from '@minke/tensor';
import { DeepSeekModel } from '@minke/transformer';
import { ShuffledSource } from '../example-source.ts';
import {
  type GrpoMetrics,
  type GrpoOptions,
  LocalCritic,
  LocalLearner,
  LocalReference,
  LocalSampler,
  perCompletion,
  presets,
  type Reward,
  type RlConfig,
  type RlPrompt,
  trainGrpo,
} from '../index.ts';
import { constantAfter } from '../schedule.ts';
import { smallConfig } from './small-config.ts';

export const banditConfig: RlConfig = {
  ...presets['r1-zero'],
  objective: { ...presets['r1-zero'].objective, beta: 0 },
  groupSize: 8,
  promptsPerStep: 8,
  minibatches: 1,
  maxCompletionLength: 3,
  learningRate: 1e-2,
  schedule: constantAfter(2),
  referenceEvery: 0,
};

/** PPO: one sample of each prompt, two updates of policy and critic a rollout, a little KL in the reward. */
export const ppoConfig: RlConfig = {
  ...presets.ppo,
  ...{ promptsPerStep: 32, minibatches: 2, maxCompletionLength: 3, learningRate: 1e-2 },
  critic: { learningRate: 1e-2, epsilon: 0.5, warmupSteps: 0 },
};

/** 1 where the completion begins with the right token. */
export const right: Reward = perCompletion(({ completion, answer }) =>
  completion.split(' ')[0] === answer ? 1 : 0,
);

const banditPrompts = (seed = 0): ShuffledSource<RlPrompt> =>
  new ShuffledSource(
    Array.from({ length: 8 }, (_, k) => ({
      tokens: [1, k],
      input: { prompt: String(k), answer: String(k + 8) },
    })),
    seed,
  );

/**
 * A fresh policy with everything that `trainGrpo` needs but the folder and the settings of the run.
 * @param adapt makes another policy of the model, one with an adapter
 */
export async function bandit(
  backend: Backend,
  seed = 1,
  adapt: (base: DeepSeekModel) => Promise<DeepSeekModel> = async (base) => base,
) {
  const arena = new Arena(backend, { persistent: true });
  const model = await adapt(DeepSeekModel.init(smallConfig, { arena, seed }));
  const learner = new LocalLearner(model);
  const engine = new Engine(model, {
    ...{ maxSequences: 128, contextLength: 16, form: 'expanded', temperedLogProbs: true },
  });
  return {
    model,
    learner,
    sampler: new LocalSampler(engine),
    reference: await LocalReference.of(model),
    critic: await LocalCritic.of(model),
    prompts: banditPrompts(),
    rewards: [{ name: 'accuracy', reward: right }],
    decode: (tokens: readonly number[]) => tokens.join(' '),
    stopTokenIds: [0],
    config: banditConfig,
    seed: 3,
  };
}

/** A short run of the bandit; every line of its metrics, and what was trained. */
export async function runBandit(backend: Backend, folder: string, changes: Partial<GrpoOptions> = {}) {
  const parts = await bandit(backend);
  const lines: GrpoMetrics[] = [];
  const onStep = (metrics: GrpoMetrics) => {
    lines.push(metrics);
    changes.onStep?.(metrics);
  };
  const last = await trainGrpo({ ...parts, steps: 2, folder, ...changes, onStep });
  return { ...parts, folder, lines, last };
}
