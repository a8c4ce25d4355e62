/**
 * The stage table: a row for each evaluated model, a column for each metric, and how figures are written in it.
 *
 * Metrics without a slash make the first table; `group/detail` metrics make one table a group. `pass@k` beyond k = 1
 * is drawn, not tabled.
 */
import type { Curve } from '../logs/charts.ts';
import type { Evaluation, EvaluationRow } from './evaluation-file.ts';

export interface StageTable {
  /** Empty for the first table. */
  readonly group: string;
  readonly metrics: readonly string[];
  /** Cells in the order of the metrics; undefined where a model was not measured. */
  readonly rows: readonly {
    readonly stage: string;
    readonly cells: readonly (EvaluationRow | undefined)[];
  }[];
}

const passAtK = /^pass@(\d+)$/;

/** All tables, the one of metrics without a group first. */
export function stageTables(evaluations: readonly Evaluation[]): readonly StageTable[] {
  const models = mergedByStage(evaluations);
  const names = [...new Set(models.flatMap(({ rows }) => rows.map(({ metric }) => metric)))];
  const tabled = names.filter((name) => Number(passAtK.exec(name)?.[1] ?? 1) === 1);
  const groups = [...new Set(['', ...tabled.map(groupOf)])];
  return groups.flatMap((group): StageTable[] => {
    const metrics = tabled.filter((name) => groupOf(name) === group);
    const rows = models
      .map(({ stage, rows }) => ({
        stage,
        cells: metrics.map((metric) => rows.find((row) => row.metric === metric)),
      }))
      .filter(({ cells }) => cells.some((cell) => cell !== undefined));
    return rows.length === 0 ? [] : [{ group, metrics, rows }];
  });
}

/** pass@k of one model, by rising k. */
export interface PassPoints {
  readonly stage: string;
  readonly points: readonly (readonly [k: number, row: EvaluationRow])[];
}

/**
 * pass@k of each model that has any. Where `pass@1` was measured otherwise than the rest, say greedily, a
 * `pass@1 at ...` takes its place.
 */
export function samplesOf(evaluations: readonly Evaluation[]): readonly PassPoints[] {
  return mergedByStage(evaluations).map(({ stage, rows }) => {
    const sampled = rows.find(({ metric }) => metric.startsWith('pass@1 at '));
    const points = rows
      .flatMap((row) => {
        const k = Number(passAtK.exec(row.metric)?.[1] ?? 0);
        return k === 0 ? [] : [[k, k === 1 && sampled !== undefined ? sampled : row] as const];
      })
      .sort(([a], [b]) => a - b);
    return { stage, points };
  });
}

/** A curve over k for each model that has pass@k at two values of k or more. */
export function passCurves(evaluations: readonly Evaluation[]): readonly Curve[] {
  return samplesOf(evaluations)
    .filter(({ points }) => points.length > 1)
    .map(({ stage, points }) => ({
      label: stage,
      x: points.map(([k]) => k),
      y: points.map(([, { value }]) => value),
    }));
}

/** What a column is called in its table. */
export function columnName(metric: string, group: string): string {
  return group === '' ? metric : metric.slice(group.length + 1);
}

/** `0.834`, with enough digits to tell a point apart. */
export function formatValue(value: number): string {
  const size = Math.abs(value);
  if (size >= 1000) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(3);
}

/** `0.812 to 0.855`, or nothing where there is no interval. */
export function formatInterval({ low, high }: EvaluationRow): string {
  return low === null || high === null ? '' : `${formatValue(low)} to ${formatValue(high)}`;
}

/** Notes of all rows, in the order of the tables. */
export function notesOf(evaluations: readonly Evaluation[]): readonly string[] {
  return mergedByStage(evaluations).flatMap(({ stage, rows }) =>
    rows.flatMap(({ metric, note }) => (note === undefined ? [] : [`${stage}, ${metric}: ${note}`])),
  );
}

function groupOf(metric: string): string {
  return metric.includes('/') ? metric.slice(0, metric.lastIndexOf('/')) : '';
}

function mergedByStage(evaluations: readonly Evaluation[]): readonly Evaluation[] {
  const merged = new Map<string, EvaluationRow[]>();
  for (const { stage, rows } of evaluations) merged.set(stage, [...(merged.get(stage) ?? []), ...rows]);
  return [...merged].map(([stage, rows]) => ({ stage, rows }));
}
