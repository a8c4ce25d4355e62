export { type Answerable, type Verdict, verify, verifyAnswer } from './answer.ts';
export { type DatasetOptions, dataset, heldOut, wholeSplit } from './dataset.ts';
export { chainOfThought, family, familyNames, generate, pose, templateTexts } from './families.ts';
export type {
  ChainSumFacts,
  Difficulty,
  FactsOf,
  Family,
  FamilyName,
  LetterCountingFacts,
  NumberComparisonFacts,
  NumberSortingFacts,
  Problem,
  ProblemOf,
  ProductFacts,
  Split,
  ThoughtOptions,
} from './problem.ts';
export { answerSentence, type ChatRow, completionText, toChat, toJsonLines } from './solution.ts';
export { hash64, problemId, split } from './split.ts';
export {
  defaultLevels,
  defaultWeights,
  type MixtureOptions,
  mixture,
  TaskStream,
  type TaskStreamState,
} from './task-stream.ts';
