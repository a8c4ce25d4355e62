export { passAtK, type Rate, wilson } from './intervals.ts';
export {
  type EvaluateOptions,
  type EvaluationProgress,
  type EvaluationReport,
  evaluate,
  type Failure,
  type FamilyResult,
  formatReport,
} from './pass-at-1.ts';
