/**
 * The second reinforcement stage: problems and general requests together, with reward models for the latter in the last
 * steps alone, as more of them is more to be exploited (DeepSeek-R1, https://arxiv.org/abs/2501.12948, section 2.3.4
 * and supplementary B.5); and its deliberate exaggeration, in which nothing but the helpfulness model rewards.
 *
 * The gold judge's opinion is logged beside the models' with weight 0: where the two part, a model is being exploited.
 */
import type { Backend } from '@minke/core';
import type { LanguageModel } from '@minke/inference';
import { onlyWhere, perCompletion, type RewardTerm } from '@minke/rl-trainer';
import { type GeneralFacts, judgeGeneral, seedOf, taskSets, tasksOf } from '../data/index.ts';
import type { StageContext } from '../run/index.ts';
import { openRewardModel } from './reward-models.ts';
import { accuracy, format, helpful, language, safe } from './rewards.ts';
import type { RecipeSettings } from './settings.ts';
import { reinforce } from './train-stages.ts';

/** The score of a completion that never answers: below what the model gives to real replies. */
const unanswered = -5;

/** What the gold judge thinks; it rewards nothing. */
const gold: RewardTerm = {
  name: 'gold',
  weight: 0,
  ifNull: 'skip',
  reward: onlyWhere(
    ({ domain }) => domain === 'general',
    perCompletion(({ completion, metadata, language: own, answer }) => {
      const facts = metadata as GeneralFacts;
      const task = { metadata: facts, language: own === 'es' ? 'es' : 'en', answer: answer ?? '' } as const;
      return judgeGeneral(task, (completion.split('</think>')[1] ?? '').trim()).helpful;
    }),
  ),
};

/** Trains the policy; `over` is the exaggeration. */
export async function secondReinforcement(
  model: LanguageModel,
  options: {
    readonly settings: RecipeSettings['grpo2'];
    readonly rewardModels: string;
    readonly backend: Backend;
    readonly over: boolean;
  },
  context: StageContext,
): Promise<void> {
  const { settings, rewardModels, backend, over } = options;
  const { config, generalShare } = settings;
  const steps = over ? settings.overSteps : settings.steps;
  const opening = { backend, format: model };
  const helpfulModel = await openRewardModel('helpful', rewardModels, opening);
  const safeModel = await openRewardModel('safe', rewardModels, opening).catch(async (problem) => {
    await helpfulModel.dispose();
    throw problem;
  });
  const modelsFrom = over ? 0 : steps - settings.modelRewardSteps;
  const problems = [accuracy, format(0.5), language(0.5)];
  const general = [
    helpful(helpfulModel.model, over ? 1 : 0.5, unanswered),
    ...(over ? [] : [safe(safeModel.model, 1)]),
    gold,
  ];
  const seed = seedOf(context.seed, over ? 'over-optimisation' : 'grpo 2');
  const mixed = tasksOf({ ...taskSets['r1-mini'], generalShare: over ? 1 : generalShare }, { seed });
  const reasoning = tasksOf('reasoning', { seed });
  const promptsBefore = modelsFrom * config.promptsPerStep;
  try {
    await reinforce(
      model,
      {
        tasks: (position) => (position < promptsBefore ? reasoning(position) : mixed(position)),
        rewards: (step) => (step < modelsFrom ? problems : [...problems, ...general]),
        settings: { ...settings, steps },
      },
      context,
    );
  } finally {
    await helpfulModel.dispose();
    await safeModel.dispose();
  }
}
