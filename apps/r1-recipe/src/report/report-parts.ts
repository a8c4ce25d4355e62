/**
 * What the HTML and the Markdown report have in common: the words and the rows, before markup.
 */
import { type Bar, judgeBars } from './bars.ts';
import { coverageText } from './coverage.ts';
import type { PlantedEffect } from './evaluation-file.ts';
import type { RunData } from './run-data.ts';
import { formatValue, notesOf, passCurves, stageTables } from './stage-table.ts';
import { type TimeRow, timeParts, totalTime } from './time-table.ts';
import { duration, shortNumber } from './words.ts';

/** What the stages left for the tables of a report. */
export function reportContents(data: RunData) {
  const { stages } = data;
  const evaluations = stages.flatMap((stage) => stage.evaluations);
  return {
    evaluations,
    tables: stageTables(evaluations),
    notes: notesOf(evaluations),
    curves: passCurves(evaluations),
    coverage: coverageText(evaluations),
    planted: plantedText(stages.flatMap((stage) => stage.planted)),
    bars: barCells(data),
    compute: stages.flatMap((stage) => stage.compute ?? []),
  };
}

export const timeHeader = [
  'stage',
  'wall time',
  'tokens sampled',
  'a second',
  'tokens trained',
  'a second',
  ...timeParts,
] as const;

/** Rows of the time table, the sum last. */
export function timeCells(data: RunData): readonly (readonly string[])[] {
  const rows = data.stages.map(({ time }) => time);
  return [...rows, totalTime(rows)].map(timeLine);
}

function timeLine({ stage, seconds, parts, ...row }: TimeRow): string[] {
  const count = (tokens: number) => (tokens === 0 ? '–' : shortNumber(Math.round(tokens)));
  const rate = (value: number | null) => (value === null ? '–' : shortNumber(Math.round(value)));
  const share = (part: number) => (seconds > 0 ? `${Math.round((100 * part) / seconds)} %` : '–');
  return [
    stage,
    duration(seconds),
    count(row.sampledTokens),
    rate(row.sampledPerSecond),
    count(row.trainedTokens),
    rate(row.trainedPerSecond),
    ...timeParts.map((part) => share(parts[part])),
  ];
}

export const barHeader = ['what the run should show', 'bar', 'found', ''] as const;

/** Rows of the table of bars; none where the recipe has none. */
function barCells({ stages }: RunData): readonly (readonly string[])[] {
  const bars = stages.flatMap(({ bars }) => bars);
  const results = judgeBars(
    bars,
    stages.flatMap(({ evaluations }) => evaluations),
  );
  const signs: Readonly<Record<Bar['bound'], string>> = {
    'at least': '≥',
    'at most': '≤',
    above: '>',
    below: '<',
  };
  return results.map(({ what, bound, limit, value, outcome }) => [
    what,
    `${signs[bound]} ${limit}`,
    value === null ? '–' : formatValue(value),
    outcome,
  ]);
}

/** How the table of bars is to be read. */
export const barNote =
  'On point estimates of this run; a bar is for the full size of the recipe. A number that misses stands here as it is.';

/** What was put into the base mixture, and what that means for the results; undefined where nothing was. */
export function plantedText(effects: readonly PlantedEffect[]): string | undefined {
  if (effects.length === 0) return undefined;
  // Every base model of a run says it of its own, mostly the same, mixture.
  const parts = effects.map(({ name, what, share }) => {
    const part = share === null ? '' : `: ${percent(share)}`;
    return `${name} (${what}${part})`;
  });
  const listed = [...new Set(parts)];
  return (
    `Planted in the base mixture: ${listed.join('; ')}. Where a later stage makes one of these more or less frequent, ` +
    'it selects among behaviours that the base model was given; that is no discovery of new ones.'
  );
}

function percent(share: number): string {
  const value = 100 * share;
  return `${value > 0 && value < 9.5 ? Number(value.toPrecision(2)) : Math.round(value)} %`;
}

/** Reasons by count, most frequent first, the kept ones ahead. */
export function reasonRows(
  kept: number,
  sampled: number,
  reasons: Readonly<Record<string, number>>,
): readonly { readonly reason: string; readonly count: number; readonly share: number }[] {
  const rejected = Object.entries(reasons).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return [['kept', kept] as const, ...rejected].map(([reason, count]) => ({
    reason,
    count,
    share: sampled > 0 ? count / sampled : 0,
  }));
}

/** One line on the run. */
export function runLine({ state, stages }: RunData): string {
  const seconds = stages.reduce((total, { time }) => total + time.seconds, 0);
  return `Recipe ${state.recipe}, seed ${state.seed}, commit ${state.commit}, ${duration(seconds)} of wall time.`;
}

/** How the tables are to be read. */
export const tableNote =
  'Problems held out from every stage; 95 % intervals over problems. Rewards during training are in the curves, not in the table.';
