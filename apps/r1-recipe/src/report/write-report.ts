/**
 * Writes the report of a run beside it: `report.json`, `report.md` with `plots/`, `report.html`, and the card of the final
 * model beside that model. The same files of the run give the same report, to the byte.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from '@minke/checkpoints/files';
import { writeJson } from '../run/json-file.ts';
import { htmlReport } from './html.ts';
import { markdownReport } from './markdown.ts';
import { modelCard } from './model-card.ts';
import { type ReportJson, reportJson } from './report-json.ts';
import { readRunData } from './run-data.ts';

/**
 * The card of a run's final model; undefined where no model was measured as `final`. Writes nothing, and throws like
 * `writeReport`.
 */
export function modelCardOf(run: string): string | undefined {
  return modelCard(readRunData(run), run)?.text;
}

/**
 * Resolves with what `report.json` says. Throws `invalid-file` where the run's folder is damaged or holds no run.
 *
 * @example
 * const { stages } = writeReport('runs/r1');
 */
export function writeReport(run: string): ReportJson {
  const data = readRunData(run);
  const json = reportJson(data);
  const { text, plots } = markdownReport(data);
  const folder = join(run, 'plots');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const [name, svg] of plots) writeFileSync(join(folder, name), svg);
  replaceFile(join(run, 'report.md'), text);
  replaceFile(join(run, 'report.html'), htmlReport(data));
  const card = modelCard(data, run);
  if (card !== undefined) replaceFile(join(run, card.path), card.text);
  writeJson(join(run, 'report.json'), json);
  return json;
}
