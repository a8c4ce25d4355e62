/**
 * What the local page is told, read from a run's folder: the state of the stages, the tables, and the curves and newest
 * samples of each log. The page depends on files alone, so it lives in a thread of its own and never waits for
 * training.
 */
import { join } from 'node:path';
import { type Chart, chartsOf, thinned } from '../logs/charts.ts';
import { sampleView } from '../logs/sample-view.ts';
import { StageLogs } from '../logs/stage-logs.ts';
import { type Evaluation, readEvaluations } from '../report/evaluation-file.ts';
import { stageTables } from '../report/stage-table.ts';
import { type RunState, readRunState } from '../run/run-state.ts';

/** One server-sent event. */
export interface FeedMessage {
  readonly event: 'run' | 'tables' | 'charts' | 'samples';
  /** One line of JSON. */
  readonly data: string;
}

/** Points of a curve on the page. */
const curvePoints = 300;
const samplesShown = 12;
/** Stages that write nothing any more. */
const settled: readonly string[] = ['done', 'reused', 'left out', 'failed', 'stopped'];

export class RunFeed {
  readonly #run: string;
  readonly #onProblem: (problem: Error) => void;
  readonly #logs = new Map<string, StageLogs>();
  readonly #closed = new Set<string>();
  readonly #evaluations = new Map<string, readonly Evaluation[]>();
  /** Newest message of each kind, for those who come later. */
  readonly #latest = new Map<string, FeedMessage>();
  #state: RunState | undefined;

  /** @param onProblem told of files that cannot be read, each once */
  constructor(run: string, onProblem: (problem: Error) => void) {
    this.#run = run;
    this.#onProblem = onProblem;
  }

  /** What a new reader has to know. */
  snapshot(): readonly FeedMessage[] {
    return [...this.#latest.values()];
  }

  /** Reads what is new and says what changed. */
  poll(): readonly FeedMessage[] {
    this.#state = readRunState(this.#run) ?? this.#state;
    if (this.#state === undefined) return [];
    const news = [this.#news('run', 'run', this.#state)];
    for (const { name, folder, state } of this.#state.stages) {
      if (folder === null || this.#closed.has(folder)) continue;
      news.push(...this.#stageNews(name, folder));
      if (!settled.includes(state)) continue;
      this.#closed.add(folder);
      this.#evaluations.set(folder, this.#evaluationsOf(folder));
    }
    const tables = stageTables([...this.#evaluations.values()].flat());
    news.push(this.#news('tables', 'tables', tables));
    return news.flatMap((message) => message ?? []);
  }

  /** A damaged file is the report's to refuse; the page shows the rest. */
  #evaluationsOf(folder: string): readonly Evaluation[] {
    try {
      return readEvaluations(join(this.#run, folder));
    } catch (problem) {
      this.#onProblem(problem as Error);
      return [];
    }
  }

  #stageNews(stage: string, folder: string): (FeedMessage | undefined)[] {
    const logs = this.#logs.get(folder) ?? new StageLogs(join(this.#run, folder), samplesShown);
    this.#logs.set(folder, logs);
    const changed = logs.poll();
    return logs.logs().flatMap(({ name: log, metrics, samples }) => {
      if (!changed.includes(log)) return [];
      const charts = chartsOf(metrics).map(forPage);
      const newest = samples.map(sampleView).reverse();
      return [
        this.#news('charts', `charts ${stage} ${log}`, { stage, log, charts }),
        this.#news('samples', `samples ${stage} ${log}`, { stage, log, samples: newest }),
      ];
    });
  }

  /** The message, unless it was the last of its kind already. */
  #news(event: FeedMessage['event'], kind: string, value: unknown): FeedMessage | undefined {
    const data = JSON.stringify(value);
    if (this.#latest.get(kind)?.data === data) return undefined;
    const message = { event, data };
    this.#latest.set(kind, message);
    return message;
  }
}

function forPage(chart: Chart): Chart {
  return { ...chart, curves: chart.curves.map((curve) => thinned(curve, curvePoints)) };
}
