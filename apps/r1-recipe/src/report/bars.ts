/**
 * Bars: what a run should show, as plain data, and whether it does. A stage leaves them as `bars.json`; the report
 * evaluates them on the point estimates of its own table, so a number that misses stands there as it is.
 */
import type { Evaluation } from './evaluation-file.ts';
import { damaged, filesNamed, isNumber, parseFile } from './stage-files.ts';

/** A figure of the table. */
export interface Figure {
  readonly stage: string;
  readonly metric: string;
}

/** One bar: a figure, or its difference or ratio to another, and its limit. */
export interface Bar {
  /** What it asks for, in words. */
  readonly what: string;
  readonly of: Figure;
  /** What is taken off. */
  readonly minus?: Figure;
  /** What it is divided by, `floor` at least. */
  readonly over?: Figure & { readonly floor?: number };
  /** On which side of the limit it has to be; `at least` and `at most` include it. */
  readonly bound: 'at least' | 'at most' | 'above' | 'below';
  readonly limit: number;
}

/** A bar with what was found. */
export interface BarResult extends Pick<Bar, 'what' | 'bound' | 'limit'> {
  /** Null where a figure was not measured, or what it is divided by is 0. */
  readonly value: number | null;
  readonly outcome: 'met' | 'missed' | 'not measured';
}

const holds: Readonly<Record<Bar['bound'], (value: number, limit: number) => boolean>> = {
  'at least': (value, limit) => value >= limit,
  'at most': (value, limit) => value <= limit,
  above: (value, limit) => value > limit,
  below: (value, limit) => value < limit,
};

/** All bars in a stage's folder. Throws `invalid-file`, naming what is wrong. */
export function readBars(folder: string): readonly Bar[] {
  return filesNamed(folder, 'bars.json').flatMap((path) => {
    const { bars } = parseFile(path) as { bars?: Partial<Bar>[] };
    const whole = bars?.every(
      ({ what, of, bound, limit }) =>
        typeof what === 'string' && of !== undefined && (bound ?? '') in holds && isNumber(limit),
    );
    if (!whole) throw damaged(path, 'bars with what, of, bound and limit');
    return bars as Bar[];
  });
}

/** Sums of floating point may lie a hair beside a limit that they reach. */
const tolerance = 1e-9;

/** Which bars are met by what was measured. */
export function judgeBars(bars: readonly Bar[], evaluations: readonly Evaluation[]): readonly BarResult[] {
  const figures = new Map<string, number>();
  const key = ({ stage, metric }: Figure) => `${stage}\n${metric}`;
  for (const { stage, rows } of evaluations)
    for (const { metric, value } of rows) figures.set(key({ stage, metric }), value);
  return bars.map(({ what, of, minus, over, bound, limit }): BarResult => {
    const value = figures.get(key(of));
    const less = minus === undefined ? 0 : figures.get(key(minus));
    const by = over === undefined ? 1 : figures.get(key(over));
    const divisor = by === undefined ? undefined : Math.max(by, over?.floor ?? 0);
    if (value === undefined || less === undefined || divisor === undefined || divisor === 0)
      return { what, bound, limit, value: null, outcome: 'not measured' };
    const found = (value - less) / divisor;
    const slack = bound === 'at least' ? tolerance : bound === 'at most' ? -tolerance : 0;
    return {
      what,
      bound,
      limit,
      value: found,
      outcome: holds[bound](found + slack, limit) ? 'met' : 'missed',
    };
  });
}
