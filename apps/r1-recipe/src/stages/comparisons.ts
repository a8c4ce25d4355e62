/**
 * Each stage beside the one before it, and beside its controls, over the same problems: differences with paired
 * bootstrap intervals, in which what both find hard cancels. A stage of its own, as it needs no model; it leaves the
 * bars of the recipe beside them.
 */
import { join } from 'node:path';
import { pairedBootstrap } from '@minke/evaluation';
import { readJsonLines } from '../logs/json-lines.ts';
import type { Evaluation, EvaluationRow } from '../report/evaluation-file.ts';
import type { Stage } from '../run/index.ts';
import { writeJson } from '../run/json-file.ts';
import { recipeBars } from './bars.ts';
import type { MeasuredRecord } from './measure.ts';

/** Two measured models: the first minus the second. */
export type Pair = readonly [string, string];

/** What is compared in every run. */
export const linePairs: readonly Pair[] = [
  ['zero', 'base'],
  ['cold-start', 'zero'],
  ['grpo-1', 'cold-start'],
  ['self-evolution', 'grpo-1'],
  ['sft-2', 'self-evolution'],
  ['final', 'sft-2'],
  ['final', 'base'],
  ['final', 'final-without-thinking'],
  ['distill', 'final'],
  ['distill', 'student-rl'],
];

/** What is compared with the controls. */
export const controlPairs: readonly Pair[] = [
  ['cold-start', 'cold-start-raw'],
  ['grpo-1', 'cold-start-continued'],
  ['grpo-1', 'grpo-1-random'],
  ['grpo-1', 'grpo-1-format'],
  ['grpo-1', 'grpo-1-no-kl'],
  ['over-optimised', 'final'],
  ['distill', 'student-rl-swept'],
];

const group = 'difference';

/** The stage that compares measured models. */
export function comparisonStage(pairs: readonly Pair[]): Stage {
  const labels = [...new Set(pairs.flat())];
  return {
    ...{ name: 'comparisons', version: 1, settings: { pairs, bars: recipeBars } },
    inputs: Object.fromEntries(labels.map((label) => [label, `measure-${label}`])),
    async run(context) {
      const recordsOf = (label: string) =>
        readJsonLines(join(context.input(label), 'records.jsonl')) as unknown as readonly MeasuredRecord[];
      const records = new Map(labels.map((label) => [label, recordsOf(label)]));
      const of = (label: string) => records.get(label) as readonly MeasuredRecord[];
      const evaluations = pairs.map(
        ([a, b]): Evaluation => ({
          stage: `${a} minus ${b}`,
          rows: differences(of(a), of(b), context.seed),
        }),
      );
      writeJson(join(context.folder, 'evaluation.json'), evaluations);
      writeJson(join(context.folder, 'bars.json'), { bars: recipeBars });
    },
  };
}

/** Mean scores of the first minus those of the second: over all problems, and over each set. */
function differences(
  a: readonly MeasuredRecord[],
  b: readonly MeasuredRecord[],
  seed: number,
): EvaluationRow[] {
  const scores = new Map(b.map(({ id, strict }) => [id, strict as number]));
  const both = a.filter(({ id }) => scores.has(id));
  const sets = [...new Set(both.map(({ set }) => set))];
  const columns = [
    ['pass@1', sets.filter((set) => set !== 'general')] as const,
    ...sets.map((set) => [set, [set]] as const),
  ];
  return columns.flatMap(([name, within]) => {
    const own = both.filter(({ set }) => within.includes(set));
    if (own.length === 0) return [];
    const { value, low, high, n } = pairedBootstrap(
      own.map(({ id }) => scores.get(id) as number),
      own.map(({ strict }) => strict as number),
    );
    return [{ metric: `${group}/${name}`, value, low, high, n, seeds: [seed] }];
  });
}
