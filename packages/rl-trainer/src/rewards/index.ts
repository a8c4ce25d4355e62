export { type AccuracyOptions, accuracyReward, taskAccuracyReward } from './accuracy.ts';
export { type CodeRewardOptions, codeReward } from './code.ts';
export { composeRewards, type RewardTerm, type ScoredGroup } from './compose.ts';
export { randomReward } from './control.ts';
export { environmentReward } from './environment.ts';
export type { EpisodeOutcome } from './episode-outcome.ts';
export { type FormatOptions, formatReward, formatTaxReward, hasFormat, tagCountReward } from './format.ts';
export {
  type LanguageCounter,
  type LanguageMarks,
  type LanguageRewardOptions,
  languageConsistency,
  languageCounter,
  languageReward,
} from './language-consistency.ts';
export {
  type CorrectnessOptions,
  type CosineLengthOptions,
  cosineLengthReward,
  kimiLengthReward,
  softOverlongReward,
} from './length.ts';
export {
  type HelpfulOptions,
  helpfulReward,
  type RewardModel,
  type ScoredText,
  safetyReward,
} from './model-score.ts';
export { reasoningStepsReward } from './reasoning-steps.ts';
export { type RepetitionOptions, repetitionRate, repetitionReward } from './repetition.ts';
export {
  type Columns,
  onlyWhere,
  perCompletion,
  type Reward,
  type RewardInput,
  type Score,
} from './reward.ts';
export { type RewardMetrics, rewardMetrics } from './reward-metrics.ts';
