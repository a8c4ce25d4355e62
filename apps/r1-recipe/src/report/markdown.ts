/** `report.md`: the same report for readers of plain text and of repositories; plots are SVG files beside it. */
import type { Curve } from '../logs/charts.ts';
import { lineChart } from './chart.ts';
import { chartStyle } from './chart-style.ts';
import { computeCells, computeHeader, computeNote } from './compute-table.ts';
import { cell, markdownTable, tableText } from './markdown-table.ts';
import {
  barHeader,
  barNote,
  reasonRows,
  reportContents,
  runLine,
  tableNote,
  timeCells,
  timeHeader,
} from './report-parts.ts';
import type { RunData } from './run-data.ts';
import { formatValue } from './stage-table.ts';

export interface MarkdownReport {
  readonly text: string;
  /** SVG texts by file name, for a folder `plots` beside the report. */
  readonly plots: ReadonlyMap<string, string>;
}

export function markdownReport(data: RunData): MarkdownReport {
  const plots = new Map<string, string>();
  const plot = (name: string, options: Parameters<typeof lineChart>[0]): string => {
    const file = `${name.replaceAll(/[^a-z0-9]+/gi, '-').toLowerCase()}.svg`;
    plots.set(file, standalone(lineChart(options)));
    const curves = options.curves.map(({ label }) => label).join(', ');
    return `![${cell(`${options.title}: ${curves}`)}](plots/${file})`;
  };
  const { tables, notes, curves, coverage, planted, bars, compute } = reportContents(data);
  const blocks = [
    '# Report of a training run',
    `${runLine(data)} Command: \`${data.state.command.replaceAll('`', "'")}\``,
    '## Stages on held-out problems',
    ...tables.map(tableText),
    tables.length > 0 ? tableNote : 'No stage was evaluated.',
    ...(notes.length > 0 ? [notes.map((note) => `- ${note}`).join('\n')] : []),
    ...(planted === undefined ? [] : [planted]),
    ...(bars.length === 0 ? [] : ['## Bars', markdownTable(barHeader, bars), barNote]),
    ...(curves.length === 0
      ? []
      : [
          '## pass@k',
          plot('pass-at-k', { title: 'pass@k', curves, xLabel: 'k', logX: true, dots: true }),
          passTable(curves),
          ...(coverage === undefined ? [] : [coverage]),
        ]),
    ...data.stages.flatMap(({ view, rejections }) =>
      rejections.flatMap(({ sampled, kept, reasons }) => [
        `## Samples kept and rejected: ${view.title}`,
        markdownTable(
          ['outcome', 'samples', 'share'],
          reasonRows(kept, sampled, reasons).map(({ reason, count, share }) => [
            reason,
            String(count),
            `${(100 * share).toFixed(1)} %`,
          ]),
        ),
      ]),
    ),
    '## Training curves',
    ...data.stages.flatMap(({ view, charts }) =>
      charts.flatMap(({ log, charts }) => [
        `### ${log === '' ? view.title : `${view.title}: ${log}`}`,
        charts.map((chart) => plot(`${view.name}-${log}-${chart.id}`, chart)).join('\n'),
      ]),
    ),
    ...(compute.length === 0
      ? []
      : ['## Compute', markdownTable(computeHeader, computeCells(compute)), computeNote]),
    '## Time',
    markdownTable(timeHeader, timeCells(data)),
  ];
  return { text: `${blocks.join('\n\n')}\n`, plots };
}

/** The points of the pass@k plot, a column for each k that some model was measured at. */
function passTable(curves: readonly Curve[]): string {
  const ks = [...new Set(curves.flatMap(({ x }) => x))].sort((a, b) => a - b);
  const rows = curves.map(({ label, x, y }) => {
    const values = ks.map((k) => y[x.indexOf(k)]);
    return [label, ...values.map((value) => (value === undefined ? '–' : formatValue(value)))];
  });
  return markdownTable(['stage', ...ks.map((k) => `k = ${k}`)], rows);
}

/** An SVG that is seen outside of a page brings its own style. */
function standalone(svg: string): string {
  return `${svg.replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" ').replace('>', `><style>${chartStyle}</style>`)}\n`;
}
