export {
  type BitsPerByteOptions,
  type BitsPerByteReport,
  bitsPerByte,
  compareBitsPerByte,
  type DocumentBits,
  type ScoredDocument,
  type ScoringWindow,
  scoredDocument,
  scoringWindows,
  type WindowScorer,
} from './bits-per-byte.ts';
export {
  type BootstrapOptions,
  bootstrapMean,
  bootstrapRatio,
  type Difference,
  pairedBootstrap,
  pairedRatios,
  quantile,
} from './bootstrap.ts';
export {
  callJson,
  checkHttp,
  type HttpAnswer,
  type HttpCall,
  type HttpOptions,
  inParallel,
} from './http-json.ts';
export { passAtK, type Rate, wilson } from './intervals.ts';
export { lenientTaskJudge } from './lenient-judge.ts';
export { majorityAtK, type Ties, type Vote } from './majority.ts';
export { modelScorer, type ScoredModel } from './model-scorer.ts';
export { type EndpointOptions, endpointSampler } from './openai-endpoint.ts';
export {
  type AuditedItem,
  auditOverlap,
  type OverlapMatch,
  type OverlapOptions,
  type OverlapReport,
  type TrainingText,
} from './overlap.ts';
export {
  type EvaluateOptions,
  type EvaluationProgress,
  type EvaluationReport,
  evaluate,
  type Failure,
  type FamilyResult,
  formatReport,
} from './pass-at-1.ts';
export { perplexity } from './perplexity.ts';
export { readRecords } from './record-file.ts';
export {
  compareSystems,
  type LengthBucket,
  type LengthStatistics,
  type SampleReport,
  type SampleSummary,
  type SummaryOptions,
  sampleReportMarkdown,
  summariseSamples,
} from './sample-report.ts';
export {
  type CollectOptions,
  collectSamples,
  hasThought,
  type Judgement,
  type Question,
  type SampledText,
  type SampleRecord,
  taskJudge,
} from './samples.ts';
