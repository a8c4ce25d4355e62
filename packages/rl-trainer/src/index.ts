export { type Example, type PackedBatch, packExamples } from './batch.ts';
export { type Compression, defaultCompression } from './compression.ts';
export { conversationSource, readConversations } from './conversation-file.ts';
export { type EndpointTextOptions, EndpointTextSampler } from './endpoint-text-sampler.ts';
export { type ExampleSource, Packer, ShuffledSource } from './example-source.ts';
export { ExportingLearner, type ExportOptions } from './exporting-learner.ts';
export { FolderSampler, type FolderSamplerOptions } from './folder-sampler.ts';
export type { HttpSamplerOptions } from './http-sampler.ts';
export type {
  ForwardBackwardResult,
  Learner,
  LossSpec,
  OptimStepOptions,
  OptimStepResult,
  PolicyExport,
  Sample,
  SampleRequest,
  Sampler,
  TrainingSequence,
  Verifier,
  VerifierInput,
} from './interfaces.ts';
export { type KeptSample, readKept } from './kept-samples.ts';
export { LocalCritic, type LocalCriticOptions } from './local-critic.ts';
export { LocalLearner } from './local-learner.ts';
export { LocalSampler, type LocalSamplerOptions } from './local-sampler.ts';
export { LocalScorer, type LocalScorerOptions } from './local-scorer.ts';
export {
  defaultLearner,
  type IndexerTraining,
  type LocalLearnerOptions,
} from './local-training.ts';
export * from './objectives/index.ts';
export { readPrompts, rejectionPrompts } from './prompt-file.ts';
export {
  defaultRejection,
  type RejectionConfig,
  type RejectionMetrics,
  type RejectionOptions,
  type RejectionSummary,
  type RejectionYield,
  rejectionSample,
} from './rejection-sampling.ts';
export {
  type Candidate,
  type RejectionFilter,
  type RejectionPrompt,
  type SelectionOptions,
  selectCandidates,
  unfinished,
} from './rejection-selection.ts';
export * from './rewards/index.ts';
export type { WorkerSamplerOptions } from './sampler-protocol.ts';
export { constantAfter, type Schedule, scheduleFactor } from './schedule.ts';
export type {
  ScoreLearner,
  ScoreLossSpec,
  ScoreSequence,
  ValueLearner,
  ValueLossSpec,
} from './score-learner.ts';
export { loadScorer } from './scorer-files.ts';
export { SglangSampler } from './sglang-sampler.ts';
export * from './stages/index.ts';
export { type Conversation, encodeExample, TaskSource, type TaskSourceState } from './task-source.ts';
export { drawThought, type ThoughtMixture, validateThoughts } from './thought-mixture.ts';
export * from './verifiers/index.ts';
export { VllmSampler, type VllmSamplerOptions } from './vllm-sampler.ts';
export { WorkerSampler } from './worker-sampler.ts';
