/**
 * Runs a recipe with all that is around its stages: progress in the terminal, the local page, `state.json` for watchers,
 * and the report at the end, also of a run that was stopped or failed.
 */
import { MinkeError } from '@minke/core';
import { startPage } from './page/page-thread.ts';
import type { ReportJson } from './report/report-json.ts';
import { writeReport } from './report/write-report.ts';
import { isFull } from './run/json-file.ts';
import { RunStateFile } from './run/run-state.ts';
import { type RunnerOptions, runStages, type StageResult } from './run/runner.ts';
import type { Stage } from './run/stage.ts';
import { type ProgressOutput, TerminalProgress } from './terminal/terminal-progress.ts';

export interface RecipeOptions extends RunnerOptions {
  /** Where progress is shown; default: nowhere. */
  readonly progress?: ProgressOutput;
  /** Port of the local page, 0 for a free one; default: no page. */
  readonly page?: number;
  /** Told the page's address. */
  readonly onPage?: (url: string) => void;
}

export interface RecipeResult {
  readonly stages: readonly StageResult[];
  readonly report: ReportJson;
}

/**
 * Runs what has to run of the stages, and reports. Throws like `runStages`, and `unsupported` where the page's port
 * cannot be used.
 *
 * @example
 * const { report } = await runRecipe(stages, { folder: 'runs/r1', recipe: 'r1 demo', seed: 0, command: 'demo', commit: 'none' });
 */
export async function runRecipe(stages: readonly Stage[], options: RecipeOptions): Promise<RecipeResult> {
  const { folder, recipe, seed, command, commit, progress, page: port } = options;
  const file = new RunStateFile(folder, { recipe, seed, command, commit });
  const terminal = progress === undefined ? undefined : new TerminalProgress(folder, progress);
  const page = port === undefined ? undefined : await startPage(folder, port);
  if (page !== undefined) options.onPage?.(page.url);
  let planned = false;
  try {
    const results = await runStages(stages, {
      ...options,
      onEvent(event) {
        planned = true;
        file.take(event);
        terminal?.take(event, file.state);
        options.onEvent?.(event);
      },
    });
    file.end();
    return { stages: results, report: writeReport(folder) };
  } catch (problem) {
    // Before the plan the folder is not ours: another process or recipe may be in it.
    if (planned) {
      file.end();
      reportAnyway(folder);
    }
    throw problem;
  } finally {
    terminal?.close();
    await page?.close();
  }
}

/** What went wrong is told; that a report on it cannot be written either is not. */
function reportAnyway(folder: string): void {
  try {
    writeReport(folder);
  } catch (problem) {
    if (!MinkeError.isInstance(problem) && !isFull(problem)) throw problem;
  }
}
