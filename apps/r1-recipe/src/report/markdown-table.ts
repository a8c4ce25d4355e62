/** Tables of Markdown: any, and the stage table with its intervals. */
import { columnName, formatInterval, formatValue, type StageTable } from './stage-table.ts';

/** A table of the stage table's, under its group's name where it has one. */
export function tableText({ group, metrics, rows }: StageTable): string {
  const header = ['stage', ...metrics.map((metric) => columnName(metric, group)), 'n'];
  const lines = rows.map(({ stage, cells }) => {
    const values = cells.map((row) => {
      if (row === undefined) return '–';
      const interval = formatInterval(row);
      return interval === '' ? formatValue(row.value) : `${formatValue(row.value)} (${interval})`;
    });
    const counts = [...new Set(cells.flatMap((row) => (row === undefined ? [] : [row.n])))];
    return [stage, ...values, counts.join(', ')];
  });
  const title = group === '' ? '' : `### ${group}\n\n`;
  return title + markdownTable(header, lines);
}

/** The first column is text, the others are figures. */
export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  const rule = `|${header.map((_, i) => (i === 0 ? ' --- ' : ' --: ')).join('|')}|`;
  return [line(header), rule, ...rows.map(line)].join('\n');
}

/** Text as it may stand in a cell. */
export function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');
}
