export * from './data/index.ts';
export type { Evaluation, EvaluationRow, PlantedEffect, Rejection } from './report/evaluation-file.ts';
export type { ReportJson } from './report/report-json.ts';
export { modelCardOf, writeReport } from './report/write-report.ts';
export * from './run/index.ts';
export { type RecipeOptions, type RecipeResult, runRecipe } from './run-recipe.ts';
export * from './stages/index.ts';
export type { ProgressOutput } from './terminal/terminal-progress.ts';
