export { type PlannedStage, type PlannedState, planRun, type Selection } from './plan.ts';
export {
  type RunEvent,
  type RunnerOptions,
  type RunRecord,
  runStages,
  type StageResult,
} from './runner.ts';
export { orderStages, type Stage, type StageContext } from './stage.ts';
