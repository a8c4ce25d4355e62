export { type BaseMixture, baseMixture, baseRows, chatRow, checkBaseMixture } from './base-mixture.ts';
export { type Corruption, corrupted, corruptions } from './corruptions.ts';
export {
  canonicalGeneral,
  drawGeneral,
  type GeneralFacts,
  type GeneralKind,
  generalKinds,
  goodReply,
} from './general-tasks.ts';
export { RowSource } from './row-source.ts';
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
