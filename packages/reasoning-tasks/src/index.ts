export { type Answerable, type Verdict, verify, verifyAnswer } from './answer.ts';
export {
  Calculator,
  type CalculatorOptions,
  type CalculatorState,
  type CalculatorTask,
} from './calculator.ts';
export {
  Curriculum,
  type CurriculumOptions,
  type CurriculumStage,
  type CurriculumState,
  type FamilyProgress,
  type Pacing,
} from './curriculum.ts';
export { type DatasetOptions, dataset, heldOut, wholeSplit } from './dataset.ts';
export type { Environment, TextPart, Turn } from './environment.ts';
export type { ChainSumFacts } from './families/chain-sum.ts';
export type { LetterCountingFacts } from './families/letter-counting.ts';
export type { NumberComparisonFacts } from './families/number-comparison.ts';
export type { NumberSortingFacts } from './families/number-sorting.ts';
export type { ProductFacts } from './families/products.ts';
export {
  allFamilyNames,
  chainOfThought,
  family,
  familyNames,
  generate,
  pose,
  templateTexts,
  verdictsOf,
} from './families.ts';
export {
  type ByteChunks,
  type JsonLine,
  type JsonLinesOptions,
  readJsonLines,
  toLines,
} from './json-lines.ts';
export { type Language, languageConsistency, type Say, stepWords } from './language.ts';
export type { CoreFamilyName, FactsOf, Family, FamilyName, Problem, ProblemOf } from './problem.ts';
export {
  type Evaluation,
  type EvaluationLimits,
  type EvaluationProblem,
  evaluate,
  formatRational,
  type Rational,
} from './rational.ts';
export type { Reasoning } from './reasoning.ts';
export {
  type Message,
  type MessagesRow,
  type PreferenceRow,
  type PromptRow,
  type RowFormat,
  type RowOf,
  readRow,
  readRows,
  toPreference,
  toPrompt,
} from './rows.ts';
export { answerSentence, type ChatRow, completionText, toChat, toJsonLines } from './solution.ts';
export { hash64, problemId, type Split, split } from './split.ts';
export type { Difficulty, TaskFamily, ThoughtOptions } from './task-family.ts';
export {
  defaultLevels,
  defaultWeights,
  type LevelWeights,
  type MixtureOptions,
  type MixtureSettings,
  mixture,
  pickWeighted,
  TaskStream,
  type TaskStreamState,
} from './task-stream.ts';
export type { StatedVerdict } from './thought.ts';
