/**
 * The two reward models: helpfulness from pairs, safety from labelled replies, each a scalar head on the weights of the
 * second supervised stage (DeepSeek-R1, https://arxiv.org/abs/2501.12948, section 2.3.4 and supplementary B.2).
 */
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import type { LanguageModel } from '@minke/inference';
import {
  defaultRewardModel,
  encodePreference,
  encodeScoredText,
  encodeTurn,
  LocalScorer,
  loadScorer,
  type PromptFormat,
  type RewardData,
  type RewardModel,
  rewardModelOf,
  type ScoredPart,
  trainRewardModel,
} from '@minke/rl-trainer';
import { Arena } from '@minke/tensor';
import { preferenceRows, safetyRows } from '../data/index.ts';
import type { EvaluationRow } from '../report/evaluation-file.ts';
import type { StageContext } from '../run/index.ts';
import type { RecipeSettings } from './settings.ts';

/** Which of the two. */
export type RewardModelName = 'helpful' | 'safe';

/** What each reads of a reply. */
const partOf: Readonly<Record<RewardModelName, ScoredPart>> = { helpful: 'summary', safe: 'whole' };

function helpfulData(
  { pairs, heldOut }: RecipeSettings['rewardModel'],
  seed: number,
  format: PromptFormat,
): RewardData {
  const at = preferenceRows({ seed });
  const pair = (position: number) => encodePreference(at(position), format, 'summary');
  const many = (from: number, count: number) => Array.from({ length: count }, (_, i) => pair(from + i));
  return { kind: 'pairs', train: many(0, pairs), heldOut: many(pairs, heldOut) };
}

function safetyData(
  { labelled, heldOut }: RecipeSettings['rewardModel'],
  seed: number,
  format: PromptFormat,
): RewardData {
  const at = safetyRows({ seed });
  const many = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const { prompt, completion, label } = at(from + i);
      const reply = completion.at(-1) as (typeof completion)[number];
      return { tokens: [...encodeTurn(prompt, reply, format).ids], label: label ? 1 : 0 } as const;
    });
  return { kind: 'labels', train: many(0, labelled), heldOut: many(labelled, heldOut) };
}

/** Trains one reward model from a policy's weights into the folder `name` of the stage; the policy is used up. */
export async function fitRewardModel(
  name: RewardModelName,
  language: LanguageModel,
  settings: RecipeSettings['rewardModel'],
  context: StageContext,
): Promise<EvaluationRow[]> {
  const folder = join(context.folder, name);
  const scorer = new LocalScorer(language.model, { seed: context.seed });
  const data = (name === 'helpful' ? helpfulData : safetyData)(settings, context.seed, language);
  try {
    const { steps, learningRate, checkpointEvery = defaultRewardModel.checkpointEvery } = settings;
    const last = await trainRewardModel({
      ...{ learner: scorer, data, folder, signal: context.signal },
      config: { ...defaultRewardModel, steps, learningRate, checkpointEvery, seed: context.seed },
      onStep: ({ global_step, accuracy }) =>
        context.progress(global_step, steps, `${name}, accuracy ${accuracy.toFixed(3)}`),
    });
    await scorer.saveModel(join(folder, 'model'), { dtype: 'f32' });
    const n = last.eval_n ?? 0;
    const row = (metric: string, value: number | null | undefined): EvaluationRow[] =>
      value == null
        ? []
        : [
            {
              metric: `reward model/${name} ${metric}`,
              value,
              low: null,
              high: null,
              n,
              seeds: [context.seed],
            },
          ];
    return [
      ...row('held-out accuracy', last.eval_accuracy),
      ...row('by length alone', last.eval_length_baseline),
      ...row('score and length', last.eval_length_correlation),
      ...row('accuracy where the shorter is better', last.eval_accuracy_shorter),
    ];
  } finally {
    await scorer.dispose();
  }
}

/** A trained reward model of a stage's folder, as rewards take it; `dispose` gives its memory back. */
export async function openRewardModel(
  name: RewardModelName,
  stageFolder: string,
  { backend, format }: { readonly backend: Backend; readonly format: PromptFormat },
): Promise<{ readonly model: RewardModel; dispose(): Promise<void> }> {
  const arena = new Arena(backend, { persistent: true, label: `reward model ${name}` });
  try {
    const { model, head } = await loadScorer(join(stageFolder, name, 'model'), { backend, arena });
    const scorer = new LocalScorer(model, { head });
    return {
      model: rewardModelOf(scorer, { encode: (text) => encodeScoredText(text, format, partOf[name]) }),
      async dispose() {
        await scorer.dispose();
        arena.dispose();
      },
    };
  } catch (problem) {
    arena.dispose();
    throw problem;
  }
}
