/**
 * The rewards of the recipe's stages, as terms of a sum (training details: DeepSeek-R1, https://arxiv.org/abs/2501.12948,
 * sections 2.2.2, 2.3.2 and 2.3.4).
 *
 * Accuracy and format are for problems, language for every thought, helpfulness and safety for general requests. A term
 * leaves out the prompts that it is not for.
 */
import { hash64, languageConsistency } from '@minke/reasoning-tasks';
import {
  formatReward,
  helpfulReward,
  onlyWhere,
  perCompletion,
  type RewardInput,
  type RewardModel,
  type RewardTerm,
  safetyReward,
  taskAccuracyReward,
} from '@minke/rl-trainer';

const isProblem = ({ domain }: RewardInput) => domain !== 'general';
const isGeneral = ({ domain }: RewardInput) => domain === 'general';

/** 1 where the problem's own verifier finds the answer right. */
export const accuracy: RewardTerm = {
  name: 'accuracy',
  reward: onlyWhere(isProblem, taskAccuracyReward()),
  ifNull: 'skip',
};

/** A thought, its end, an answer. */
export const format = (weight: number): RewardTerm => ({
  name: 'format',
  reward: onlyWhere(isProblem, formatReward()),
  weight,
  ifNull: 'skip',
});

/** The share of a thought's step words that are in the question's language. */
export const language = (weight: number): RewardTerm => ({
  name: 'language',
  reward: onlyWhere(
    isProblem,
    perCompletion(({ completion, language: wanted }) =>
      languageConsistency(completion.split('</think>')[0] as string, wanted === 'es' ? 'es' : 'en'),
    ),
  ),
  weight,
  ifNull: 'skip',
});

/** What a model of preferences thinks of the visible reply to a general request. */
export const helpful = (model: RewardModel, weight: number, withoutSummary: number): RewardTerm => ({
  name: 'helpful',
  reward: onlyWhere(isGeneral, helpfulReward(model, { withoutSummary })),
  weight,
  ifNull: 'skip',
});

/** The probability, by a model of safety, that the whole reply to a general request is safe. */
export const safe = (model: RewardModel, weight: number): RewardTerm => ({
  name: 'safe',
  reward: onlyWhere(isGeneral, safetyReward(model)),
  weight,
  ifNull: 'skip',
});

/** A control: a coin for every completion, decided by its text so that a resumed run throws it the same. */
export const coin = (seed: number): RewardTerm => ({
  name: 'random',
  reward: perCompletion(({ prompt, completion }) => Number(hash64(`${seed}\n${prompt}\n${completion}`) & 1n)),
});
