/**
 * Where the time of a run went: per stage the wall time, tokens sampled and trained with their rates, and the shares
 * of sampling, update, evaluation and the rest.
 *
 * Stages of reinforcement learning log the time of each step and its parts (`step_time`, `time/{part}`,
 * `throughput/...`). Other stages do one thing: where a line counts `sampled` and `kept`, its `num_tokens` were sampled;
 * otherwise `num_tokens` counts the tokens trained on so far. What the stage measured itself, such as its evaluation,
 * comes from the runner. Work that a kill undid is in the wall time, under `other`.
 */
import type { JsonLine } from '../logs/json-lines.ts';

/** Seconds of a stage's parts. */
export type TimePart = 'sampling' | 'update' | 'evaluation' | 'other';

export const timeParts: readonly TimePart[] = ['sampling', 'update', 'evaluation', 'other'];

export interface TimeRow {
  readonly stage: string;
  /** Wall time. */
  readonly seconds: number;
  readonly sampledTokens: number;
  readonly trainedTokens: number;
  /** Tokens a second while sampling; null where nothing was sampled. */
  readonly sampledPerSecond: number | null;
  /** Tokens a second while training; null where nothing was trained. */
  readonly trainedPerSecond: number | null;
  /** Seconds of each part; together the wall time. */
  readonly parts: Readonly<Record<TimePart, number>>;
}

interface Spent {
  sampling: number;
  update: number;
  /** Known but neither of these: rewards, the reference. */
  besides: number;
  sampledTokens: number;
  trainedTokens: number;
}

/**
 * @param logs lines of each metrics.jsonl of the stage; @param measured seconds of parts that the stage timed itself
 */
export function timeRow(
  stage: string,
  seconds: number,
  logs: readonly (readonly JsonLine[])[],
  measured: Readonly<Record<string, number>>,
): TimeRow {
  const timed = sum(logs.map(stepTimes).flatMap((spent) => (spent === undefined ? [] : [spent])));
  const untimed = logs.filter((lines) => stepTimes(lines) === undefined && lines.length > 0);
  const own = Object.values(measured).reduce((a, b) => a + b, 0);
  const known = timed.sampling + timed.update + timed.besides + own;
  // A stage's logs without clocks share what is left, by what they are.
  const counts = untimed.map(tokenCounts);
  const sampled = counts.reduce((total, count) => total + count.sampled, 0);
  const trained = counts.reduce((total, count) => total + count.trained, 0);
  const left = Math.max(0, seconds - known);
  const mixed = sampled > 0 && trained > 0;
  const untimedSampling = sampled > 0 && !mixed ? left : 0;
  const untimedUpdate = trained > 0 && !mixed ? left : 0;
  const sampling = timed.sampling + untimedSampling + (measured.sampling ?? 0);
  const update = timed.update + untimedUpdate + (measured.update ?? 0);
  const evaluation = measured.evaluation ?? 0;
  const sampledTokens = timed.sampledTokens + sampled;
  const trainedTokens = timed.trainedTokens + trained;
  const rate = (tokens: number, time: number) => (tokens > 0 && time > 0 && !mixed ? tokens / time : null);
  return {
    stage,
    seconds,
    sampledTokens,
    trainedTokens,
    sampledPerSecond: rate(sampledTokens, sampling),
    trainedPerSecond: rate(trainedTokens, update),
    parts: { sampling, update, evaluation, other: Math.max(0, seconds - sampling - update - evaluation) },
  };
}

/** The sum of all rows. */
export function totalTime(rows: readonly TimeRow[]): TimeRow {
  const add = (pick: (row: TimeRow) => number) => rows.reduce((total, row) => total + pick(row), 0);
  const rated = (tokens: 'sampledTokens' | 'trainedTokens', part: 'sampling' | 'update') => {
    const time = add((row) => (row[tokens] > 0 ? row.parts[part] : 0));
    const count = add((row) => (row.parts[part] > 0 ? row[tokens] : 0));
    return time > 0 && count > 0 ? count / time : null;
  };
  return {
    stage: 'all',
    seconds: add((row) => row.seconds),
    sampledTokens: add((row) => row.sampledTokens),
    trainedTokens: add((row) => row.trainedTokens),
    sampledPerSecond: rated('sampledTokens', 'sampling'),
    trainedPerSecond: rated('trainedTokens', 'update'),
    parts: {
      sampling: add((row) => row.parts.sampling),
      update: add((row) => row.parts.update),
      evaluation: add((row) => row.parts.evaluation),
      other: add((row) => row.parts.other),
    },
  };
}

/** Sums over the steps of a log that has clocks; undefined for one without. */
function stepTimes(lines: readonly JsonLine[]): Spent | undefined {
  if (!lines.some((line) => typeof line.step_time === 'number')) return undefined;
  const spent: Spent = { sampling: 0, update: 0, besides: 0, sampledTokens: 0, trainedTokens: 0 };
  for (const line of lines) {
    const step = numberIn(line, 'step_time');
    const sampling = step * numberIn(line, 'time/sampling');
    const update = step * numberIn(line, 'time/update');
    spent.sampling += sampling;
    spent.update += update;
    spent.besides += Math.max(0, step - sampling - update);
    spent.sampledTokens += sampling * numberIn(line, 'throughput/sampled_tokens_per_second');
    spent.trainedTokens += update * numberIn(line, 'throughput/trained_tokens_per_second');
  }
  return spent;
}

function tokenCounts(lines: readonly JsonLine[]): { sampled: number; trained: number } {
  const last = lines.at(-1) as JsonLine;
  if (typeof last.sampled !== 'number') return { sampled: 0, trained: numberIn(last, 'num_tokens') };
  return { sampled: lines.reduce((total, line) => total + numberIn(line, 'num_tokens'), 0), trained: 0 };
}

function sum(all: readonly Spent[]): Spent {
  const add = (pick: (spent: Spent) => number) => all.reduce((total, spent) => total + pick(spent), 0);
  return {
    sampling: add((s) => s.sampling),
    update: add((s) => s.update),
    besides: add((s) => s.besides),
    sampledTokens: add((s) => s.sampledTokens),
    trainedTokens: add((s) => s.trainedTokens),
  };
}

function numberIn(line: JsonLine, name: string): number {
  const value = line[name];
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}
