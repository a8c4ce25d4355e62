export { type BaseMixture, baseMixture, baseRows, chatRow, checkBaseMixture } from './base-mixture.ts';
export { type Corruption, corrupted, corruptions } from './corruptions.ts';
export { type Curation, type CurationSettings, curateTraces } from './curate-traces.ts';
export { checkLines, derivationLines, judgeLine, type LineKind } from './evidence.ts';
export type { GeneralFacts, GeneralKind } from './general-facts.ts';
export { generalRows } from './general-rows.ts';
export {
  canonicalGeneral,
  drawGeneral,
  generalKinds,
  goodReply,
} from './general-tasks.ts';
export { type GeneralVerdict, judgeGeneral } from './judge-general.ts';
export {
  type PreferenceSettings,
  preferenceRows,
  preferenceSettings,
  type SafetyRow,
  type SafetySettings,
  safetyRows,
  safetySettings,
} from './preferences.ts';
export { type Refined, refineTrace } from './refine-trace.ts';
export { RowSource } from './row-source.ts';
export { inLanguage } from './step-words.ts';
export {
  type GeneralTask,
  promptOf,
  type ReasoningTask,
  type Row,
  type RowAt,
  reasoningTask,
  rowOf,
  type Task,
} from './task.ts';
export { recipeFamilies, type TaskSet, type TaskSetName, taskSets } from './task-sets.ts';
export { drawTask, heldOutProblems, seedOf, type TaskAt, tasksOf } from './task-stream.ts';
export { sloppyHabits, sloppyThought, type ThoughtHabits } from './thoughts.ts';
export { recipeTokenizer, tokenizerFiles } from './tokenizer.ts';
export { completionOf, partsOf, type ThoughtParts, type Trace, type Try, traceOf } from './trace.ts';
export {
  atMost,
  longestTrace,
  noRepeatedTries,
  oneLanguage,
  ownVerdictsRight,
  reasonAgainst,
  right,
  type TraceFilter,
  traceFilters,
  wellFormed,
} from './trace-filters.ts';
export { measureTraces, type TraceMeasures } from './trace-measures.ts';
