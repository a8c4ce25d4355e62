/**
 * The report of sampled evaluation: pass@1 as the mean of k samples, pass@k, maj@k, strict and lenient, lengths and
 * thinking, for all problems, each family, and buckets of length.
 *
 * pass@1 of k samples as in DeepSeek-R1 (https://arxiv.org/abs/2501.12948, section 3); pass@k unbiased (Chen et al.
 * 2021, https://arxiv.org/abs/2107.03374). Intervals are percentile bootstrap over problems, or Wilson's (95 % only)
 * where there is one sample a problem (greedy) and where all problems count 0 or all 1, of which a bootstrap has nothing
 * to draw. A sample is right if its score is 1. Samples that could not be judged are left out and counted. pass@k and maj@k are over problems whose samples were all judged.
 */
import { check, MinkeError } from '@minke/core';
import {
  type BootstrapOptions,
  bootstrapMean,
  type Difference,
  pairedBootstrap,
  quantile,
} from './bootstrap.ts';
import { passAtK, type Rate, wilson } from './intervals.ts';
import { majorityAtK, type Ties } from './majority.ts';
import type { SampleRecord } from './samples.ts';

/** What to compute. */
export interface SummaryOptions extends BootstrapOptions {
  /** The k of pass@k; those above the samples there are, are left out. Default powers of 2. */
  readonly passAt?: readonly number[];
  /** The k of maj@k. Default: all samples. */
  readonly majorityAt?: readonly number[];
  readonly ties?: Ties;
  /** Upper ends of the buckets of length, ascending; the last is open. Default 64, 128, 256, ... 16,384. */
  readonly lengthEdges?: readonly number[];
}

/** Lengths of completions, in the unit of the records. */
export interface LengthStatistics {
  readonly mean: number;
  readonly median: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
  /** Means of right and of wrong samples; null where there are none. */
  readonly meanRight: number | null;
  readonly meanWrong: number | null;
}

/** Numbers of a set of problems. Plain JSON; null is "nothing to measure". */
export interface SampleSummary {
  readonly problems: number;
  readonly samples: number;
  readonly unjudged: number;
  /** Share of judged samples from which no answer could be read. */
  readonly unanswered: number | null;
  readonly passAt1: Rate | null;
  readonly lenientPassAt1: Rate | null;
  readonly passAtK: Readonly<Record<string, Rate>>;
  readonly majorityAtK: Readonly<Record<string, Rate>>;
  readonly length: LengthStatistics | null;
  readonly truncated: number | null;
  /** Share of samples that used their thought. */
  readonly thought: number | null;
}

/** Accuracy of the samples of some length. */
export interface LengthBucket {
  /** Lengths in (`from`, `to`]; `to` null is no end. */
  readonly from: number;
  readonly to: number | null;
  readonly samples: number;
  readonly right: number;
  readonly accuracy: number;
}

/** The whole report. Plain JSON. */
export interface SampleReport {
  readonly total: SampleSummary;
  readonly families: Readonly<Record<string, SampleSummary>>;
  readonly lengths: readonly LengthBucket[];
  /** Coverage of the intervals, and how they were drawn. */
  readonly settings: {
    readonly level: number;
    readonly resamples: number;
    readonly seed: number;
    readonly ties: Ties;
  };
}

const defaultEdges = Array.from({ length: 9 }, (_, i) => 64 * 2 ** i);

/**
 * Summarises records, of any order.
 *
 * @example
 * const report = summariseSamples(records, { passAt: [1, 8], seed: 1 });
 * console.log(sampleReportMarkdown(report));
 */
export function summariseSamples(
  records: readonly SampleRecord[],
  options: SummaryOptions = {},
): SampleReport {
  const { lengthEdges = defaultEdges, level = 0.95, resamples = 2000, seed = 0, ties = 'share' } = options;
  check(
    lengthEdges.every(
      (edge, i) => Number.isFinite(edge) && (i === 0 || edge > (lengthEdges[i - 1] as number)),
    ),
    () => `summariseSamples: expected ascending lengthEdges, got ${lengthEdges.join(', ')}`,
  );
  const families = groupBy(records, ({ family }) => family);
  return {
    total: summarise(records, options),
    families: Object.fromEntries([...families].map(([name, rows]) => [name, summarise(rows, options)])),
    lengths: buckets(records, lengthEdges),
    settings: { level, resamples, seed, ties },
  };
}

function groupBy<T>(rows: readonly T[], key: (row: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const row of rows) {
    const group = groups.get(key(row));
    if (group === undefined) groups.set(key(row), [row]);
    else group.push(row);
  }
  return groups;
}

const right = (score: number | null | undefined): number => (score === 1 ? 1 : 0);
const share = <T>(rows: readonly T[], holds: (row: T) => boolean): number | null =>
  rows.length === 0 ? null : rows.filter(holds).length / rows.length;

/** The mean over problems of their values in [0, 1]. */
function rateOf(values: readonly number[], single: boolean, options: BootstrapOptions): Rate {
  const alike = values.every((value) => value === values[0]) && (values[0] === 0 || values[0] === 1);
  if ((single || alike) && (options.level ?? 0.95) === 0.95)
    return wilson(
      values.reduce((sum, value) => sum + value, 0),
      values.length,
    );
  return bootstrapMean(values, options);
}

/** The mean over problems of the share of right samples. */
function meanRate(problems: readonly (readonly number[])[], options: BootstrapOptions): Rate | null {
  if (problems.length === 0) return null;
  return rateOf(
    problems.map((scores) => scores.reduce((sum, score) => sum + score, 0) / scores.length),
    problems.every((scores) => scores.length === 1),
    options,
  );
}

function summarise(records: readonly SampleRecord[], options: SummaryOptions): SampleSummary {
  const problems = [...groupBy(records, ({ id }) => id).values()];
  const judged = records.filter(({ strict }) => strict !== null);
  const scores = (pick: (record: SampleRecord) => number | null | undefined) =>
    problems
      .map((rows) =>
        rows
          .map(pick)
          .filter((score) => score !== null && score !== undefined)
          .map(right),
      )
      .filter((row) => row.length > 0);
  const whole = problems.filter((rows) => rows.every(({ strict }) => strict !== null));
  const samples = whole.reduce(
    (least, rows) => Math.min(least, rows.length),
    whole.length === 0 ? 0 : Infinity,
  );
  const rates = (ks: readonly number[], value: (rows: readonly SampleRecord[], k: number) => number) =>
    Object.fromEntries(
      ks
        .filter((k) => k <= samples)
        .map(
          (k) =>
            [
              String(k),
              rateOf(
                whole.map((rows) => value(rows, k)),
                false,
                options,
              ),
            ] as const,
        ),
    );
  const powers = Array.from({ length: 17 }, (_, i) => 2 ** i);
  return {
    problems: problems.length,
    samples: records.length,
    unjudged: records.length - judged.length,
    unanswered: share(judged, ({ answer }) => answer === null),
    passAt1: meanRate(
      scores(({ strict }) => strict),
      options,
    ),
    lenientPassAt1: meanRate(
      scores(({ lenient }) => lenient),
      options,
    ),
    passAtK: rates(options.passAt ?? powers, (rows, k) =>
      passAtK(rows.length, rows.filter(({ strict }) => strict === 1).length, k),
    ),
    majorityAtK: rates(options.majorityAt ?? [samples].filter((k) => k > 1), (rows, k) =>
      majorityAtK(
        [...rows]
          .sort((a, b) => a.sample - b.sample)
          .map(({ answer, strict }) => ({ answer, correct: strict === 1 })),
        k,
        options.ties,
      ),
    ),
    length: lengthStatistics(records),
    truncated: share(records, ({ truncated }) => truncated),
    thought: share(records, ({ thought }) => thought),
  };
}

function lengthStatistics(records: readonly SampleRecord[]): LengthStatistics | null {
  if (records.length === 0) return null;
  const mean = (rows: readonly SampleRecord[]) =>
    rows.length === 0 ? null : rows.reduce((sum, { length }) => sum + length, 0) / rows.length;
  const ascending = Float64Array.from(records, ({ length }) => length).sort();
  return {
    mean: mean(records) as number,
    median: quantile(ascending, 0.5),
    p90: quantile(ascending, 0.9),
    p99: quantile(ascending, 0.99),
    max: ascending[ascending.length - 1] as number,
    meanRight: mean(records.filter(({ strict }) => strict === 1)),
    meanWrong: mean(records.filter(({ strict }) => strict !== null && strict !== 1)),
  };
}

function buckets(records: readonly SampleRecord[], edges: readonly number[]): LengthBucket[] {
  const ends = [...edges, null];
  return ends.flatMap((to, i) => {
    const from = i === 0 ? Number.NEGATIVE_INFINITY : (edges[i - 1] as number);
    const rows = records.filter(
      ({ strict, length }) => strict !== null && length > from && (to === null || length <= to),
    );
    if (rows.length === 0) return [];
    const hits = rows.filter(({ strict }) => strict === 1).length;
    return [
      { from: i === 0 ? 0 : from, to, samples: rows.length, right: hits, accuracy: hits / rows.length },
    ];
  });
}

/**
 * pass@1 of system b minus that of system a, over the problems both were judged on, paired by id.
 *
 * @throws MinkeError `invalid-argument` where they share no judged problem
 */
export function compareSystems(
  a: readonly SampleRecord[],
  b: readonly SampleRecord[],
  options: BootstrapOptions & { readonly scoring?: 'strict' | 'lenient' } = {},
): Difference {
  const { scoring = 'strict' } = options;
  const rates = (records: readonly SampleRecord[]) =>
    new Map(
      [...groupBy(records, ({ id }) => id)].flatMap(([id, rows]) => {
        const scores = rows
          .map((row) => row[scoring])
          .filter((score) => score !== null && score !== undefined);
        if (scores.length === 0) return [];
        return [[id, scores.reduce((sum, score) => sum + right(score), 0) / scores.length] as const];
      }),
    );
  const [first, second] = [rates(a), rates(b)];
  const common = [...first.keys()].filter((id) => second.has(id)).sort();
  if (common.length === 0)
    throw new MinkeError(
      'invalid-argument',
      `compareSystems: expected common judged problems, got none of ${first.size} and ${second.size}; evaluate both on one set`,
    );
  const values = (of: ReadonlyMap<string, number>) => common.map((id) => of.get(id) as number);
  return pairedBootstrap(values(first), values(second), options);
}

/** The report as Markdown: a row for each family and for all, then accuracy by length. */
export function sampleReportMarkdown(report: SampleReport): string {
  const percent = (value: number | null) => (value === null ? '-' : (100 * value).toFixed(1));
  const rate = (value: Rate | null | undefined) =>
    value == null ? '-' : `${percent(value.value)} (${percent(value.low)} to ${percent(value.high)})`;
  const passes = Object.keys(report.total.passAtK).filter((k) => k !== '1');
  const majorities = Object.keys(report.total.majorityAtK);
  const heads = [
    'family',
    'problems',
    'samples',
    'pass@1',
    'lenient',
    ...passes.map((k) => `pass@${k}`),
    ...majorities.map((k) => `maj@${k}`),
    'length',
    'cut',
    'thinks',
    'no answer',
    'unjudged',
  ];
  const row = (name: string, summary: SampleSummary) => [
    name.replaceAll('|', '\\|'),
    `${summary.problems}`,
    `${summary.samples}`,
    rate(summary.passAt1),
    rate(summary.lenientPassAt1),
    ...passes.map((k) => rate(summary.passAtK[k])),
    ...majorities.map((k) => rate(summary.majorityAtK[k])),
    summary.length === null ? '-' : summary.length.mean.toFixed(1),
    percent(summary.truncated),
    percent(summary.thought),
    percent(summary.unanswered),
    `${summary.unjudged}`,
  ];
  const table = (rows: readonly (readonly string[])[]) =>
    rows
      .flatMap((cells, i) => [cells, ...(i === 0 ? [cells.map((_, c) => (c === 0 ? '---' : '---:'))] : [])])
      .map((cells) => `| ${cells.join(' | ')} |`)
      .join('\n');
  const families = Object.entries(report.families).map(([name, summary]) => row(name, summary));
  const lengths = report.lengths.map(({ from, to, samples, accuracy }) => [
    to === null ? `over ${from}` : `${from} to ${to}`,
    `${samples}`,
    percent(accuracy),
  ]);
  return [
    `Percent, with ${100 * report.settings.level} % intervals over problems.`,
    table([heads, ...families, row('all', report.total)]),
    table([['length', 'samples', 'right'], ...lengths]),
  ].join('\n\n');
}
