export { type Example, type PackedBatch, packExamples } from './batch.ts';
export { type ConversationRow, conversationSource, readConversations } from './conversation-file.ts';
export { type ExampleSource, Packer, ShuffledSource } from './example-source.ts';
export type {
  ForwardBackwardResult,
  Learner,
  LossSpec,
  OptimStepResult,
  PolicyExport,
  Sample,
  SampleRequest,
  Sampler,
  TrainingSequence,
  Verifier,
  VerifierInput,
} from './interfaces.ts';
export { defaultLearner, LocalLearner, type LocalLearnerOptions } from './local-learner.ts';
export { LocalSampler } from './local-sampler.ts';
export * from './objectives/index.ts';
export * from './rewards/index.ts';
export { type Schedule, scheduleFactor } from './schedule.ts';
export { defaultSft, type SftConfig, type SftMetrics, type SftOptions, trainSft } from './sft.ts';
export { type Conversation, encodeExample, TaskSource, type TaskSourceState } from './task-source.ts';
export { drawThought, type ThoughtMixture, validateThoughts } from './thought-mixture.ts';
export * from './verifiers/index.ts';
