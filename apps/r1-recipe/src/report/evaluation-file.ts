/**
 * What evaluated stages leave for the report: `evaluation.json`, and the smaller files beside it.
 *
 * - `evaluation.json`: `{ stage, rows: [{ metric, value, low, high, n, seeds, note? }] }`, or a list of these. Metrics
 *   are named `pass@1`, `pass@16`, `maj@8`, or `group/detail` such as `pass@1/products`.
 * - `rejection.json` of rejection sampling: `sampled`, `kept`, `reasons` by count.
 * - `curation.json` of the cold start's traces: measures `before` and `after`, which become rows of two sets.
 * - `planted.json` of the base mixture: `{ effects: [{ name, what, share }] }`: what was put into the data on purpose.
 */
import { damaged, filesNamed, isNumber, parseFile } from './stage-files.ts';

/** One measured figure. */
export interface EvaluationRow {
  readonly metric: string;
  readonly value: number;
  /** Ends of the 95 % interval; null where there is none. */
  readonly low: number | null;
  readonly high: number | null;
  /** Problems, pairs or samples behind it. */
  readonly n: number;
  readonly seeds: readonly number[];
  /** What a reader has to know, such as why a bar was missed. */
  readonly note?: string;
}

/** The figures of one model. */
export interface Evaluation {
  /** Name of the model's stage in the table. */
  readonly stage: string;
  readonly rows: readonly EvaluationRow[];
}

export interface Rejection {
  readonly sampled: number;
  readonly kept: number;
  readonly reasons: Readonly<Record<string, number>>;
}

export interface PlantedEffect {
  readonly name: string;
  readonly what: string;
  /** Of what `what` speaks of, in [0, 1]; null where there is none. */
  readonly share: number | null;
}

/** All evaluations in a stage's folder. Throws `invalid-file`, naming what is wrong. */
export function readEvaluations(folder: string): readonly Evaluation[] {
  return filesNamed(folder, 'evaluation.json').flatMap((path) => {
    const value = parseFile(path);
    return (Array.isArray(value) ? value : [value]).map((entry) => checkEvaluation(path, entry));
  });
}

/** What a cold start's traces were like before and after curation, as figures of two sets. */
export function readCurations(folder: string, seed: number): readonly Evaluation[] {
  return filesNamed(folder, 'curation.json').flatMap((path) => {
    const { before, after } = parseFile(path) as { before?: TraceFigures; after?: TraceFigures };
    if (before === undefined || after === undefined) throw damaged(path, 'measures before and after');
    return [
      { stage: 'cold-start traces as sampled', rows: traceRows(before, seed) },
      { stage: 'cold-start traces, curated', rows: traceRows(after, seed) },
    ];
  });
}

type TraceFigures = Readonly<Record<string, number | readonly (number | null)[] | null>>;

/** What the measures of traces are called in the table. */
const traceNames: Readonly<Record<string, string>> = {
  triesPerTrace: 'tries',
  distinctTries: 'different tries',
  languageConsistency: 'language consistency',
  knownLines: 'lines that are statements',
  trueLines: 'true lines',
  verdictsRight: 'true verdicts',
  thoughtLength: 'characters',
};

function traceRows({ traces, distinct, ...measures }: TraceFigures, seed: number): EvaluationRow[] {
  const row = (metric: string, value: unknown): EvaluationRow[] =>
    isNumber(value)
      ? [{ metric: `traces/${metric}`, value, low: null, high: null, n: Number(traces), seeds: [seed] }]
      : [];
  return [
    ...(Array.isArray(distinct) ? distinct : []).flatMap((value, i) => row(`distinct ${i + 1}-grams`, value)),
    ...Object.entries(traceNames).flatMap(([name, title]) => row(title, measures[name])),
  ];
}

export function readRejections(folder: string): readonly Rejection[] {
  return filesNamed(folder, 'rejection.json').map((path) => {
    const { sampled, kept, reasons } = parseFile(path) as Partial<Rejection>;
    const whole = [sampled, kept, ...Object.values(reasons ?? { none: null })].every(isNumber);
    if (!whole) throw damaged(path, 'numbers in sampled, kept and reasons');
    return { sampled, kept, reasons } as Rejection;
  });
}

export function readPlanted(folder: string): readonly PlantedEffect[] {
  return filesNamed(folder, 'planted.json').flatMap((path) => {
    const { effects } = parseFile(path) as { effects?: Partial<PlantedEffect>[] };
    const whole = effects?.every(({ name, what }) => typeof name === 'string' && typeof what === 'string');
    if (!whole) throw damaged(path, 'effects with name and what');
    return (effects as PlantedEffect[]).map((effect) => ({ ...effect, share: effect.share ?? null }));
  });
}

function checkEvaluation(path: string, entry: unknown): Evaluation {
  const { stage, rows } = (entry ?? {}) as Partial<Evaluation>;
  if (typeof stage !== 'string' || !Array.isArray(rows)) throw damaged(path, 'stage and rows');
  for (const row of rows as Partial<EvaluationRow>[]) {
    const whole = typeof row?.metric === 'string' && isNumber(row.value) && isNumber(row.n);
    const bounds = [row?.low ?? null, row?.high ?? null].every((end) => end === null || isNumber(end));
    if (!whole || !bounds || !Array.isArray(row.seeds))
      throw damaged(path, `metric, value, low, high, n and seeds in each row, unlike ${JSON.stringify(row)}`);
  }
  return { stage, rows: rows.map((row) => ({ ...row, low: row.low ?? null, high: row.high ?? null })) };
}
