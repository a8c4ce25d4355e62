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
import {
  type Evaluation,
  type PlantedEffect,
  type Rejection,
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
    view.folder === null ? [] : [stageData(run, view, view.folder)],
  );
  return { state, stages };
}

function stageData(run: string, view: StageView, folder: string): StageData {
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
    evaluations: readEvaluations(path),
    rejections: readRejections(path),
    planted: readPlanted(path),
    charts: charts.filter((entry) => entry.charts.length > 0),
    time: timeRow(
      view.name,
      seconds,
      logs.map(({ lines }) => lines),
      record?.parts ?? {},
    ),
  };
}

function forReport(chart: Chart): Chart {
  return { ...chart, curves: chart.curves.map((curve) => thinned(curve, curvePoints)) };
}
