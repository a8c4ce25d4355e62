/**
 * Cold-start curation: from samples of a policy to clean rows, with the reasons of what was left out and measures of
 * before and after.
 */

import { refineTrace } from './refine-trace.ts';
import { type Row, reasoningTask, rowOf } from './task.ts';
import { completionOf, type Trace, traceOf } from './trace.ts';
import { reasonAgainst, right, type TraceFilter, traceFilters, wellFormed } from './trace-filters.ts';
import { measureTraces, type TraceMeasures } from './trace-measures.ts';

/** Settings of a curation. */
export interface CurationSettings {
  /** Most rows of one problem. Default 1. */
  readonly keepPerProblem?: number;
  /** What refined traces must pass. Default `traceFilters`. */
  readonly filters?: readonly TraceFilter[];
}

/** What came of a curation. */
export interface Curation {
  /** In the order of the samples. */
  readonly rows: readonly Row[];
  /** How many samples were left out for each reason; `kept` counts the rows. */
  readonly reasons: Readonly<Record<string, number>>;
  /** Of all samples, and of the rows. */
  readonly before: TraceMeasures;
  readonly after: TraceMeasures;
}

/**
 * Filters, refines, filters again.
 *
 * @example
 * const { rows, reasons } = curateTraces(samples.map(({ problem, text }) => traceOf(problem, text)));
 */
export function curateTraces(traces: readonly Trace[], settings: CurationSettings = {}): Curation {
  const { keepPerProblem = 1, filters = traceFilters } = settings;
  const rows: Row[] = [];
  const refinedTraces: Trace[] = [];
  const reasons: Record<string, number> = {};
  const keptOf = new Map<string, Set<string>>();
  const count = (reason: string) => {
    reasons[reason] = (reasons[reason] ?? 0) + 1;
  };
  for (const trace of traces) {
    const reason = reasonAgainst(trace, [wellFormed, right]);
    if (reason !== null) {
      count(reason);
      continue;
    }
    const refined = refineTrace(trace);
    if ('reason' in refined) {
      count(refined.reason);
      continue;
    }
    const tidy = traceOf(trace.problem, completionOf(refined));
    const against = reasonAgainst(tidy, filters);
    const kept = keptOf.get(trace.problem.id) ?? new Set();
    if (against !== null) count(against);
    else if (kept.has(tidy.completion)) count('duplicate');
    else if (kept.size >= keepPerProblem) count('enough of this problem');
    else {
      count('kept');
      keptOf.set(trace.problem.id, kept.add(tidy.completion));
      refinedTraces.push(tidy);
      rows.push(rowOf(reasoningTask(trace.problem), { ...refined, style: 'refined' }));
    }
  }
  return { rows, reasons, before: measureTraces(traces), after: measureTraces(refinedTraces) };
}
