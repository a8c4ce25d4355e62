export { type DpoMetrics, type DpoOptions, type DpoStageConfig, defaultDpo, trainDpo } from './dpo.ts';
export {
  encodePreference,
  encodeScoredText,
  encodeTurn,
  type PreferencePair,
  readRowFile,
  type ScoredPart,
} from './encode-rows.ts';
export {
  type EnvironmentOptions,
  type Episode,
  type EpisodeSample,
  type EpisodeSampling,
  type EpisodeTurn,
  episodesOf,
  sampleEpisodes,
} from './episodes.ts';
export { trainGrpo } from './grpo.ts';
export type { RolloutMetrics } from './grpo-metrics.ts';
export type { GrpoMetrics, GrpoOptions } from './grpo-options.ts';
export type { TokenWork } from './grpo-run.ts';
export { type HeldOutSamplesOptions, heldOutSamples } from './held-out-samples.ts';
export { type LocalPolicy, type LocalPolicyOptions, localPolicy } from './local-policy.ts';
export {
  type DistillConfig,
  type DistillMetrics,
  type DistillOptions,
  defaultDistill,
  distillOnPolicy,
} from './on-policy-distillation.ts';
export { checkGenerationPrompt, type PromptFormat } from './prompt-format.ts';
export {
  type PromptData,
  type PromptSource,
  type RlPrompt,
  rowPrompts,
  taskPrompts,
} from './prompt-source.ts';
export { LocalReference, type Reference } from './reference.ts';
export type { RewardEvaluation } from './reward-evaluation.ts';
export {
  defaultRewardModel,
  type LabelledText,
  type RewardData,
  type RewardModelConfig,
  type RewardModelOptions,
  type RewardModelStepMetrics,
  rewardModelOf,
  trainRewardModel,
} from './reward-model.ts';
export {
  defaultSft,
  defaultSftLearner,
  type SftConfig,
  type SftMetrics,
  type SftOptions,
  trainSft,
} from './sft.ts';
export type { SampleLines, StageConfig, StageMetrics, StageOptions } from './stage-run.ts';
export { withoutClock } from './step-clock.ts';
export { LocalTeacher, type Teacher } from './teacher.ts';
