/**
 * pass@1 over reasoning tasks: one completion a problem, judged by the task's verifier, a rate with its Wilson
 * 95 % interval for each family.
 *
 * The model is a function from prompts to completions, so anything that generates text can be measured. Problems
 * the verifier cannot judge (score null) are counted apart and left out of the rate; completions without an
 * answer are wrong. This module samples nothing itself: pass@1 is greedy if `complete` is.
 */
import { check, MinkeError } from '@minke/core';
import { type FamilyName, type Problem, verify } from '@minke/reasoning-tasks';
import { type Rate, wilson } from './intervals.ts';

/** What to measure and how. */
export interface EvaluateOptions {
  readonly problems: readonly Problem[];
  /** Completions of prompts, in order: what the model says after `<think>`, with `</think>` and the answer. */
  readonly complete: (prompts: string[]) => Promise<string[]>;
  /** Prompts a call. Default 32. */
  readonly batchSize?: number;
  /** Called after every batch. */
  readonly onProgress?: (progress: EvaluationProgress) => void;
  /** Failed completions kept a family. Default 5. */
  readonly maxFailures?: number;
  /** Length of a completion in the caller's unit, for example tokens. Default: characters. */
  readonly lengthOf?: (completion: string) => number;
}

/** How far an evaluation is. */
export interface EvaluationProgress {
  readonly done: number;
  readonly total: number;
  readonly correct: number;
}

/** A completion that scored 0. */
export interface Failure {
  readonly id: string;
  readonly prompt: string;
  readonly expected: string;
  /** The answer that was read, null where none was found. */
  readonly extracted: string | null;
  readonly completion: string;
}

/** The result of one family, or of all. */
export interface FamilyResult {
  readonly n: number;
  readonly correct: number;
  /** pass@1 with its 95 % interval; null where nothing could be judged. */
  readonly passAt1: Rate | null;
  /** Problems without a usable gold answer, not part of `n`. */
  readonly unjudged: number;
  /** Completions from which no answer could be read; part of `n`. */
  readonly unanswered: number;
  /** Mean completion length in the unit of `lengthOf`. */
  readonly meanLength: number;
  readonly failures: readonly Failure[];
}

/** A JSON-ready report. */
export interface EvaluationReport {
  readonly families: Readonly<Partial<Record<FamilyName, FamilyResult>>>;
  readonly total: Omit<FamilyResult, 'failures'>;
  readonly seconds: number;
}

interface Tally {
  n: number;
  correct: number;
  unjudged: number;
  unanswered: number;
  length: number;
  failures: Failure[];
}

function summarise(tally: Tally): FamilyResult {
  const { n, correct, unjudged, unanswered, length, failures } = tally;
  const completions = n + unjudged;
  return {
    n,
    correct,
    passAt1: n === 0 ? null : wilson(correct, n),
    unjudged,
    unanswered,
    meanLength: completions === 0 ? 0 : length / completions,
    failures,
  };
}

/**
 * Measures pass@1 of `complete` on `problems`.
 *
 * @throws MinkeError `invalid-argument` for a bad batch size; `internal` when `complete` returns another number
 * of completions than prompts. Errors of `complete` pass through.
 * @example
 * const problems = heldOut('products', 'test', { seed: 0, count: 500 });
 * const report = await evaluate({ problems, complete });
 * console.log(formatReport(report));
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluationReport> {
  const { problems, complete, batchSize = 32, onProgress, maxFailures = 5 } = options;
  const lengthOf = options.lengthOf ?? ((completion: string) => completion.length);
  check(
    Number.isSafeInteger(batchSize) && batchSize > 0,
    () => `evaluate: expected batchSize >= 1, got ${batchSize}; pass a positive integer`,
  );
  const started = performance.now();
  const tallies = new Map<FamilyName, Tally>();
  let correct = 0;
  for (let from = 0; from < problems.length; from += batchSize) {
    const batch = problems.slice(from, from + batchSize);
    const completions = await complete(batch.map((problem) => problem.prompt));
    if (completions.length !== batch.length)
      throw new MinkeError(
        'internal',
        `evaluate: expected ${batch.length} completions, got ${completions.length}; complete() must answer every prompt`,
      );
    for (const [i, problem] of batch.entries()) {
      const completion = completions[i] as string;
      let tally = tallies.get(problem.family);
      if (tally === undefined) {
        tally = { n: 0, correct: 0, unjudged: 0, unanswered: 0, length: 0, failures: [] };
        tallies.set(problem.family, tally);
      }
      const { score, extracted } = verify(problem, completion);
      tally.length += lengthOf(completion);
      if (score === null) {
        tally.unjudged++;
        continue;
      }
      tally.n++;
      if (extracted === null) tally.unanswered++;
      if (score === 1) {
        tally.correct++;
        correct++;
      } else if (tally.failures.length < maxFailures) {
        const { id, prompt, answer: expected } = problem;
        tally.failures.push({ id, prompt, expected, extracted, completion });
      }
    }
    onProgress?.({ done: from + batch.length, total: problems.length, correct });
  }
  const sum = (field: 'n' | 'correct' | 'unjudged' | 'unanswered' | 'length') =>
    [...tallies.values()].reduce((total, tally) => total + tally[field], 0);
  const { failures: _, ...total } = summarise({
    n: sum('n'),
    correct: sum('correct'),
    unjudged: sum('unjudged'),
    unanswered: sum('unanswered'),
    length: sum('length'),
    failures: [],
  });
  return {
    families: Object.fromEntries([...tallies].map(([name, tally]) => [name, summarise(tally)])),
    total,
    seconds: (performance.now() - started) / 1000,
  };
}

/** The report as a fixed-width table: family, n, pass@1 in percent, its 95 % interval, mean length. */
export function formatReport(report: EvaluationReport): string {
  const percent = (share: number) => (100 * share).toFixed(1);
  const row = (name: string, result: Omit<FamilyResult, 'failures'>) => [
    name,
    String(result.n),
    result.passAt1 === null ? '-' : percent(result.passAt1.value),
    result.passAt1 === null ? '-' : `${percent(result.passAt1.low)} to ${percent(result.passAt1.high)}`,
    String(result.unanswered),
    result.meanLength.toFixed(1),
  ];
  const rows = [
    ['family', 'n', 'pass@1 %', '95 % interval', 'no answer', 'mean length'],
    ...Object.entries(report.families).map(([name, result]) => row(name, result)),
    row('all', report.total),
  ];
  const widths =
    rows[0]?.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0))) ?? [];
  return rows
    .map((cells) =>
      cells
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] as number) : cell.padStart(widths[column] as number),
        )
        .join('  '),
    )
    .join('\n');
}
