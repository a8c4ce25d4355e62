/** `report.json`: the figures of the stage table with command, commit, seed and time, for programs. */
import { type BarResult, judgeBars } from './bars.ts';
import type { ComputeRow } from './compute-table.ts';
import type { EvaluationRow } from './evaluation-file.ts';
import type { RunData } from './run-data.ts';

/** The repository's format for the result of a training run. */
export interface ReportJson {
  readonly stages: readonly ({ readonly stage: string } & EvaluationRow)[];
  readonly command: string;
  readonly commit: string;
  readonly seed: number;
  /** Wall time of all stages. */
  readonly seconds: number;
  /** What the run should show, and whether it does; on point estimates. */
  readonly bars: readonly BarResult[];
  /** Tokens and FLOPs of the stages that train or sample. */
  readonly compute: readonly ComputeRow[];
}

export function reportJson({ state, stages }: RunData): ReportJson {
  return {
    stages: stages.flatMap(({ evaluations }) =>
      evaluations.flatMap(({ stage, rows }) =>
        rows.map(({ metric, value, low, high, n, seeds, note }) => ({
          ...{ stage, metric, value, low, high, n, seeds },
          ...(note !== undefined && { note }),
        })),
      ),
    ),
    command: state.command,
    commit: state.commit,
    seed: state.seed,
    seconds: Math.round(stages.reduce((total, { time }) => total + time.seconds, 0)),
    bars: judgeBars(
      stages.flatMap(({ bars }) => bars),
      stages.flatMap(({ evaluations }) => evaluations),
    ),
    compute: stages.flatMap(({ compute }) => compute ?? []),
  };
}
