/**
 * Everything the report says, read from a run's folder: a function of the files alone.
 */
import { join } from 'node:path';
import { MinkeError } from '@minke/core';
import { type Chart, chartsOf, thinned } from '../logs/charts.ts';
import { readJsonLines } from '../logs/json-lines.ts';
import { logFolders } from '../logs/stage-logs.ts';
import { doneFile, startedFile } from '../run/content-hash.ts';
import { readJson } from '../run/json-file.ts';
import { type RunState, readRunState, type StageView } from '../run/run-state.ts';
import type { StartedRecord } from '../run/stage-folder.ts';
import { type Bar, readBars } from './bars.ts';
import { type ComputeRow, computeRow } from './compute-table.ts';
import {
  type Evaluation,
  type PlantedEffect,
  type Rejection,
  readCurations,
  readEvaluations,
  readPlanted,
  readRejections,
} from './evaluation-file.ts';
import { type TimeRow, timeRow } from './time-table.ts';

/** One stage of the run, with what it left. */
export interface StageData {
  readonly view: StageView;
  readonly evaluations: readonly Evaluation[];
  readonly rejections: readonly Rejection[];
  readonly planted: readonly PlantedEffect[];
  /** Training curves, by the folder of the log inside the stage's. */
  readonly charts: readonly { readonly log: string; readonly charts: readonly Chart[] }[];
  readonly time: TimeRow;
  readonly compute: ComputeRow | undefined;
  readonly bars: readonly Bar[];
  /** As the stage's record has them. */
  readonly settings: unknown;
}

export interface RunData {
  readonly state: RunState;
  /** Stages that have a folder, in the order of the recipe. */
  readonly stages: readonly StageData[];
}

/** Points of a curve in the report, at most. */
const curvePoints = 400;

/** Throws `invalid-file` where a run's folder or a file in it is damaged. */
export function readRunData(run: string): RunData {
  const state = readRunState(run);
  if (state === undefined)
    throw new MinkeError(
      'invalid-file',
      `${run}: expected a run with state.json, got none; run the recipe in it`,
    );
  const stages = state.stages.flatMap((view) =>
    view.folder === null ? [] : [stageData(run, view, view.folder, state)],
  );
  return { state, stages };
}

function stageData(run: string, view: StageView, folder: string, state: RunState): StageData {
  const path = join(run, folder);
  const logs = logFolders(path).map((log) => ({
    log,
    lines: readJsonLines(join(path, log, 'metrics.jsonl')),
  }));
  const advice = `run the stage afresh with --force ${view.name}`;
  const record = (readJson(join(path, doneFile), advice) ?? readJson(join(path, startedFile), advice)) as
    | StartedRecord
    | undefined;
  const seconds = record?.seconds ?? 0;
  const charts = logs.map(({ log, lines }) => ({ log, charts: chartsOf(lines).map(forReport) }));
  return {
    view,
    evaluations: [...readCurations(path, state.seed), ...readEvaluations(path)],
    rejections: readRejections(path),
    planted: readPlanted(path),
    charts: charts.filter((entry) => entry.charts.length > 0),
    time: timeRow(
      view.name,
      seconds,
      logs.map(({ lines }) => lines),
      record?.parts ?? {},
    ),
    compute: computeRow(
      view.name,
      logs.map(({ lines }) => lines),
      // What a stage samples from is the model of an input.
      [path, ...inputFolders(run, view, state)],
    ),
    bars: readBars(path),
    settings: record?.settings,
  };
}

/** Folders of the stages that a stage reads from, where they are known. */
function inputFolders(run: string, { inputs }: StageView, { stages }: RunState): string[] {
  return inputs.flatMap((input) => {
    const folder = stages.find(({ name }) => name === input)?.folder;
    return folder == null ? [] : [join(run, folder)];
  });
}

function forReport(chart: Chart): Chart {
  return { ...chart, curves: chart.curves.map((curve) => thinned(curve, curvePoints)) };
}
