/**
 * What evaluated stages leave for the report: `evaluation.json`, and the smaller files beside it.
 *
 * - `evaluation.json`: `{ stage, rows: [{ metric, value, low, high, n, seeds, note? }] }`, or a list of these. Metrics
 *   are named `pass@1`, `pass@16`, `maj@8`, or `group/detail` such as `pass@1/products`.
 * - `rejection.json` of rejection sampling: `sampled`, `kept`, `reasons` by count.
 * - `planted.json` of the base mixture: `{ effects: [{ name, what, share }] }`: what was put into the data on purpose.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MinkeError } from '@minke/core';

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

/** Files of a name in a folder and the folders inside it, by path. */
function filesNamed(folder: string, name: string, depth = 0): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isFile()) return entry.name === name ? [path] : [];
      return entry.isDirectory() && entry.name !== 'checkpoints' && depth < 3
        ? filesNamed(path, name, depth + 1)
        : [];
    });
}

function parseFile(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (problem) {
    throw damaged(path, `JSON (${(problem as Error).message})`);
  }
}

function damaged(path: string, expected: string): MinkeError {
  return new MinkeError(
    'invalid-file',
    `${path}: expected ${expected}, got something else; run its stage afresh with --force`,
  );
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}
