// Results of whole runs of the recipe, kept in the repository: `minke train recipe` leaves them in a run's folder.
//
//   node tools/recipe/results.mjs <run folder> ...             # adds runs, and writes the page
//   node tools/recipe/results.mjs                              # writes the page only
//
// A run's `report.json` becomes docs/recipe/results/<preset>-<seed>.json; docs/recipe/README.md is made of these files.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from '../scripts/process.mjs';

const defaultFolder = join(repositoryRoot, 'docs/recipe');

/** Columns of the table of stages: metrics of the report. */
const columns = {
  all: 'pass@1',
  arithmetic: 'set/arithmetic',
  search: 'set/search',
  parity: 'set/parity',
  thinking: 'thinking rate',
  'one language, sampled': 'language/sampled',
  'verified retries': 'search/verified retries',
  'helpful chat': 'general/helpful',
  'safe chat': 'general/safe',
};

/**
 * Copies the result of a run and resolves with its name. What says where it ran on a machine is left out.
 *
 * @param {string} run folder of a run that has ended
 * @param {string} [folder] of the page
 */
export function addResult(run, folder = defaultFolder) {
  const report = JSON.parse(readFileSync(join(run, 'report.json'), 'utf8'));
  const preset = /--preset (\w+)/.exec(report.command)?.[1] ?? 'full';
  if (report.bars.length === 0)
    throw new Error(`results: expected a run that has ended, got ${run}; run the recipe to its end`);
  const name = `${preset}-${report.seed}`;
  const command = report.command.replace(/--out \S+/, `--out runs/${name}`);
  const results = join(folder, 'results');
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, `${name}.json`), lines({ ...report, command }));
  return name;
}

/** JSON with a line for each row of its tables. */
function lines(report) {
  const entries = Object.entries(report).map(([key, value]) => {
    const text = Array.isArray(value)
      ? `[\n${value.map((row) => `  ${JSON.stringify(row)}`).join(',\n')}\n]`
      : JSON.stringify(value);
    return `${JSON.stringify(key)}: ${text}`;
  });
  return `{\n${entries.join(',\n')}\n}\n`;
}

/** Writes the page from the files of results. */
export function writePage(folder = defaultFolder) {
  const results = join(folder, 'results');
  const runs = readdirSync(results)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => ({
      name: file.slice(0, -'.json'.length),
      report: JSON.parse(readFileSync(join(results, file), 'utf8')),
    }));
  const parts = [
    '# The recipe, run',
    'Whole runs of [`minke train recipe`](../../apps/r1-recipe), from random weights to the final model. All numbers are of ' +
      'problems held out from every stage, answered greedily unless said otherwise; intervals (95 %, over problems), more ' +
      'metrics, tokens and FLOPs are in [`results`](results). Made by `node tools/recipe/results.mjs`.',
    '## What should come out, and what did',
    barTable(runs),
    'Bars are for the full size of the recipe, on point estimates. A number that misses stands here as it is; the ' +
      '[log](../log.md) says why, where it is known.',
    ...runs.flatMap(({ name, report }) => [
      `## ${name}`,
      `\`${report.command}\`, commit ${report.commit.slice(0, 12)}.`,
      stageTable(report),
    ]),
  ];
  writeFileSync(join(folder, 'README.md'), `${parts.join('\n\n')}\n`);
}

function barTable(runs) {
  const whats = [...new Set(runs.flatMap(({ report }) => report.bars.map(({ what }) => what)))];
  const signs = { 'at least': '≥', above: '>', below: '<', 'at most': '≤' };
  const rows = whats.map((what) => {
    const found = runs.map(({ report }) => report.bars.find((bar) => bar.what === what));
    const { bound, limit } = found.find((bar) => bar !== undefined);
    const cells = found.map((bar) =>
      bar?.value == null ? '–' : `${number(bar.value)}${bar.outcome === 'missed' ? ' (missed)' : ''}`,
    );
    return [what, `${signs[bound]} ${limit}`, ...cells];
  });
  return table(['what', 'bar', ...runs.map(({ name }) => name)], rows);
}

function stageTable({ stages }) {
  const names = [...new Set(stages.map(({ stage }) => stage))];
  const rows = names.flatMap((name) => {
    const cells = Object.values(columns).map((metric) => {
      const row = stages.find((row) => row.stage === name && row.metric === metric);
      return row === undefined ? '–' : number(row.value);
    });
    return cells[0] === '–' ? [] : [[name, ...cells]];
  });
  return table(['stage', ...Object.keys(columns)], rows);
}

/** As the formatter writes tables. */
function table(head, rows) {
  const widths = head.map((_, i) => Math.max(3, ...[head, ...rows].map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

const number = (value) => value.toFixed(Math.abs(value) >= 10 ? 1 : 3);

if (process.argv[1] === import.meta.filename) {
  for (const run of process.argv.slice(2)) console.log(`added ${addResult(run)}`);
  writePage();
}
