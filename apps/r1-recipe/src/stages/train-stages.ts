/**
 * The two ways in which the recipe's stages train a model: supervised, and by reinforcement. Both continue in the
 * stage's folder after a kill and leave the trained model in it.
 */
import type { LanguageModel } from '@minke/inference';
import {
  defaultSft,
  defaultSftLearner,
  type ExampleSource,
  type GrpoMetrics,
  heldOutSamples,
  localPolicy,
  type RewardTerm,
  type SftConfig,
  type TokenWork,
  trainGrpo,
  trainSft,
} from '@minke/rl-trainer';
import { heldOutProblems, type TaskAt } from '../data/index.ts';
import { workOf } from '../logs/token-work.ts';
import type { StageContext } from '../run/index.ts';
import { saveStageModel } from './model-folder.ts';
import { accuracy } from './rewards.ts';
import { type FitSettings, type RlSettings, recipeSettings } from './settings.ts';
import { promptsOf, rlPrompt } from './task-prompts.ts';

/** Prompt and completion together, tokens, at most: questions take up to 40, replies up to 300. */
export const contextLength = 384;

/** Held-out problems whose answers a supervised stage logs at each checkpoint. */
const shownProblems = 4;

/** Of a reply, in tokens, as every model is measured. */
const { maxNewTokens } = recipeSettings.full.measure;

function sftConfig(
  { steps, tokensPerStep, learningRate, warmupSteps, checkpointEvery = 200 }: FitSettings,
  seed: number,
): SftConfig {
  return {
    ...defaultSft,
    ...{ steps, tokensPerStep, learningRate, seed, checkpointEvery },
    schedule: { shape: 'cosine', warmupSteps, finalFraction: 0.05, decayFraction: 0 },
    biasUpdateUntil: 0.9,
  };
}

/** Of the experts' balance; faster than DeepSeek's 0.001 and 1e-4, as a stage has hundreds of steps. */
const sftLearner = { ...defaultSftLearner, biasUpdateGamma: 0.01, balanceAlpha: 1e-3 };

/** Supervised training of a model on examples. */
export async function fit(
  language: LanguageModel,
  source: ExampleSource,
  settings: FitSettings,
  context: StageContext,
): Promise<void> {
  const policy = await localPolicy(language, {
    ...{ contextLength, reference: false, maxSequences: shownProblems },
    learner: { ...sftLearner, optimizer: settings.optimizer },
  });
  const shown = heldOutProblems('reasoning', shownProblems, 0);
  const prompts = shown.map((task) => rlPrompt(task, language));
  const samples = heldOutSamples({ ...policy, prompts, rewards: [accuracy], maxNewTokens });
  try {
    await trainSft({
      ...{ learner: policy.learner, source, config: sftConfig(settings, context.seed), samples },
      ...{ folder: context.folder, signal: context.signal },
      onStep: ({ global_step, loss }) =>
        context.progress(global_step, settings.steps, `loss ${loss.toFixed(3)}`),
    });
    await saveStageModel(language, context.folder);
  } finally {
    await policy.dispose();
  }
}

/** What a stage of reinforcement rewards, and on which tasks. */
export interface Reinforcement {
  readonly tasks: TaskAt;
  readonly rewards: readonly RewardTerm[] | ((step: number) => readonly RewardTerm[]);
  readonly settings: RlSettings;
  /** Ends the stage once it has cost so much, wherever its steps are; `of` says what work costs. */
  readonly budget?: { readonly flops: number; readonly of: (work: TokenWork) => number };
}

/** Reinforcement learning of a model on tasks. */
export async function reinforce(
  language: LanguageModel,
  { tasks, rewards, settings, budget }: Reinforcement,
  context: StageContext,
): Promise<void> {
  const { config, steps, checkpointEvery = 25 } = settings;
  const needsReference = config.objective.beta > 0 || config.rewardBeta > 0;
  const policy = await localPolicy(language, {
    contextLength,
    reference: needsReference,
    learner: { biasUpdateGamma: 1e-3, balanceAlpha: 1e-4 },
  });
  try {
    const spent = (metrics: GrpoMetrics) => budget?.of(workOf([[metrics]])) ?? 0;
    await trainGrpo({
      ...policy,
      prompts: promptsOf(tasks, language),
      ...{ rewards, config, steps, seed: context.seed, folder: context.folder, signal: context.signal },
      checkpointEvery,
      ...(budget && { stopWhen: (metrics) => spent(metrics) >= budget.flops }),
      onStep(metrics) {
        const { global_step: step, reward } = metrics;
        const left = budget === undefined ? 0 : Math.max(0, budget.flops / spent(metrics) - 1);
        const total = budget === undefined ? steps : Math.min(steps, Math.ceil(step * (1 + left)));
        context.progress(step, total, `reward ${reward?.toFixed(3) ?? '-'}`);
      },
    });
    await saveStageModel(language, context.folder);
  } finally {
    await policy.dispose();
  }
}
