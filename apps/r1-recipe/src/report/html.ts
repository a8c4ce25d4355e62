/** `report.html`: one file that needs nothing else, no script and no network. */
import { escapeHtml, lineFigure } from './chart.ts';
import { chartStyle, figureStyle } from './chart-style.ts';
import { computeCells, computeHeader, computeNote } from './compute-table.ts';
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
import type { RunData, StageData } from './run-data.ts';
import { columnName, formatInterval, formatValue, type StageTable } from './stage-table.ts';

export function htmlReport(data: RunData): string {
  const { state, stages } = data;
  const { tables, notes, curves, coverage, planted, bars, compute } = reportContents(data);
  const body = [
    `<header><h1>Report of a training run</h1><p>${escapeHtml(runLine(data))}</p>`,
    `<p><code>${escapeHtml(state.command)}</code></p></header>`,
    '<section><h2>Stages on held-out problems</h2>',
    tables.length === 0 ? '<p>No stage was evaluated.</p>' : tables.map(tableHtml).join(''),
    tables.length === 0 ? '' : `<p class="quiet">${escapeHtml(tableNote)}</p>`,
    notes.length === 0 ? '' : `<ul>${notes.map((note) => `<li>${escapeHtml(note)}</li>`).join('')}</ul>`,
    planted === undefined ? '' : `<p>${escapeHtml(planted)}</p>`,
    '</section>',
    bars.length === 0
      ? ''
      : `<section><h2>Bars</h2>${tableOf(barHeader, bars, false)}<p class="quiet">${escapeHtml(barNote)}</p></section>`,
    curves.length === 0
      ? ''
      : `<section><h2>pass@k</h2><div class="wide">${lineFigure({ title: 'Share of problems solved in k samples', curves, xLabel: 'k', logX: true, dots: true })}</div>${coverage === undefined ? '' : `<p>${escapeHtml(coverage)}</p>`}</section>`,
    stages.map(rejectionHtml).join(''),
    `<section><h2>Training curves</h2>${stages.map(curvesHtml).join('')}</section>`,
    compute.length === 0
      ? ''
      : `<section><h2>Compute</h2>${tableOf(computeHeader, computeCells(compute), true)}<p class="quiet">${escapeHtml(computeNote)}</p></section>`,
    `<section><h2>Time</h2>${tableOf(timeHeader, timeCells(data), true)}</section>`,
  ];
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">' +
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">' +
    `<title>${escapeHtml(`Minke: ${state.recipe}`)}</title><style>${chartStyle}${figureStyle}${pageStyle}</style></head>\n` +
    `<body>${body.join('\n')}</body></html>\n`
  );
}

function tableHtml({ group, metrics, rows }: StageTable): string {
  const head = ['stage', ...metrics.map((metric) => columnName(metric, group)), 'n'];
  const lines = rows.map(({ stage, cells }) => {
    const values = cells.map((row) => {
      if (row === undefined) return '<td>–</td>';
      return `<td>${formatValue(row.value)}<small>${escapeHtml(formatInterval(row))}</small></td>`;
    });
    const counts = [...new Set(cells.flatMap((row) => (row === undefined ? [] : [row.n])))];
    return `<tr><th scope="row">${escapeHtml(stage)}</th>${values.join('')}<td>${counts.join(', ')}</td></tr>`;
  });
  const title = group === '' ? '' : `<h3>${escapeHtml(group)}</h3>`;
  return `${title}<div class="scroll" tabindex="0">${tableFrame(head, lines)}</div>`;
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[], sum: boolean): string {
  const lines = rows.map(([first = '', ...rest], i) => {
    const cells = rest.map((text) => `<td>${escapeHtml(text)}</td>`).join('');
    const total = sum && i === rows.length - 1 ? ' class="sum"' : '';
    return `<tr${total}><th scope="row">${escapeHtml(first)}</th>${cells}</tr>`;
  });
  return `<div class="scroll" tabindex="0">${tableFrame(head, lines)}</div>`;
}

function tableFrame(head: readonly string[], lines: readonly string[]): string {
  const columns = head.map((name) => `<th scope="col">${escapeHtml(name)}</th>`).join('');
  return `<table><thead><tr>${columns}</tr></thead><tbody>${lines.join('')}</tbody></table>`;
}

function rejectionHtml({ view, rejections }: StageData): string {
  return rejections
    .map(({ sampled, kept, reasons }) => {
      const rows = reasonRows(kept, sampled, reasons).map(({ reason, count, share }, i) => {
        const bar = `<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="${i === 0 ? 'kept' : 'rejected'}" width="${(100 * share).toFixed(2)}" height="10"/></svg>`;
        const percent = `${(100 * share).toFixed(1)} %`;
        return `<tr><th scope="row">${escapeHtml(reason)}</th><td class="bars">${bar}</td><td>${count}</td><td>${percent}</td></tr>`;
      });
      const table = tableFrame(['outcome', '', 'samples', 'share'], rows);
      return `<section><h2>Samples kept and rejected: ${escapeHtml(view.title)}</h2><div class="scroll" tabindex="0">${table}</div></section>`;
    })
    .join('');
}

function curvesHtml({ view, charts }: StageData): string {
  return charts
    .map(({ log, charts }) => {
      const title = log === '' ? view.title : `${view.title}: ${log}`;
      const figures = charts.map((chart) => lineFigure(chart)).join('');
      return `<details open><summary>${escapeHtml(title)}</summary><div class="charts">${figures}</div></details>`;
    })
    .join('');
}

const pageStyle = `
:root{--ground:#fbfcfd;--raised:#eef3f6;--accent:#1f6f8b;color-scheme:light dark;font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){:root{--ground:#10181d;--raised:#1a262d;--accent:#58b1cf}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1.5rem 1rem 4rem;background:var(--ground);color:var(--ink)}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2.25rem 0 .75rem}h3{font-size:1rem;margin:1.25rem 0 .5rem}
p{max-width:46rem}code{background:var(--raised);border-radius:.3rem;padding:.1rem .3rem;overflow-wrap:anywhere}
.quiet{color:var(--quiet);font-size:.875rem}.wide{max-width:34rem}
.scroll{overflow-x:auto}.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9375rem}
th,td{padding:.35rem .75rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
th:first-child{text-align:left;padding-left:0;font-weight:600}
thead th{color:var(--quiet);font-weight:500;font-size:.8125rem;vertical-align:bottom}
td small{display:block;color:var(--quiet);font-size:.75rem}
.sum th,.sum td{border-top:2px solid var(--line);font-weight:600}
.bars{width:16rem;min-width:8rem}.bar{display:block;width:100%;height:.9rem;margin-top:.3rem}
.kept{fill:var(--c2)}.rejected{fill:var(--c1)}
details{margin:0 0 1.5rem}summary{cursor:pointer;font-weight:600;margin-bottom:.75rem}
@media print{.scroll{overflow:visible}}
`
  .trim()
  .replaceAll('\n', '');
