/** `report.json`: the figures of the stage table with command, commit, seed and time, for programs. */
import type { RunData } from './run-data.ts';

/** The repository's format for the result of a training run. */
export interface ReportJson {
  readonly stages: readonly {
    readonly stage: string;
    readonly metric: string;
    readonly value: number;
    readonly low: number | null;
    readonly high: number | null;
    readonly n: number;
    readonly seeds: readonly number[];
  }[];
  readonly command: string;
  readonly commit: string;
  readonly seed: number;
  /** Wall time of all stages. */
  readonly seconds: number;
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
  };
}
