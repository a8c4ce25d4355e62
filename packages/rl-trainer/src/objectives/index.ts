export {
  type AdvantageConfig,
  type AdvantageContext,
  advantagesOfTokens,
  sampleAdvantages,
  whitened,
} from './advantages.ts';
export { type Aggregation, aggregate, type StepTotals } from './aggregate.ts';
export { correctionWeights, offPolicyMask, type SamplingCorrection } from './corrections.ts';
export { distillationLoss } from './distillation-losses.ts';
export { type KlEstimator, klValue, tokenKl } from './kl.ts';
export { tokenEntropies, tokenLogProbs } from './log-probs.ts';
export {
  type CispoLoss,
  type ClipLoss,
  type GmpoLoss,
  type PolicyLoss,
  type PolicyTensors,
  type ReinforceLoss,
  type SapoLoss,
  tokenPolicyLoss,
  type VespoLoss,
} from './policy-losses.ts';
export { type PolicyObjective, type PolicyObjectiveTensors, policyObjective } from './policy-objective.ts';
export {
  type DpoConfig,
  dpoLoss,
  type KtoConfig,
  ktoLoss,
  type PreferenceMetrics,
  type PreferenceTensors,
  preferenceMetrics,
} from './preference-losses.ts';
export { type PresetName, presets } from './presets.ts';
export { importanceRatio, type RatioLevel } from './ratio.ts';
export {
  type BradleyTerryOptions,
  bradleyTerryLoss,
  pointwiseLoss,
  type RewardModelMetrics,
  rewardModelMetrics,
} from './reward-model-losses.ts';
export {
  normalizeThenSum,
  type RewardTable,
  sumRewards,
} from './rewards.ts';
export { type CriticConfig, type RlConfig, type TokenAdvantageConfig, validateRl } from './rl-config.ts';
export { packSegments, type Segments, segmentSum, spread } from './segments.ts';
export type { Score } from './statistics.ts';
export { type RolloutRewards, type StepAdvantages, stepAdvantages } from './step-advantages.ts';
export { type StepMetrics, type StepRecord, stepMetrics } from './step-metrics.ts';
export {
  type GaeResult,
  gae,
  penalizedRewards,
  reinforcePlusPlus,
  tokenRewards,
} from './token-advantages.ts';
export { tokenValueLoss } from './value-loss.ts';
export { type ValueRecord, valueLossMetrics, valueMetrics } from './value-metrics.ts';
