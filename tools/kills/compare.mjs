// What must be the same in two runs: every file of the stages, byte for byte, except
//
//   stage.json, done.json   started, finished, seconds, parts         when, and how long
//   metrics.jsonl           step_time, time/*, throughput/*           where the time of a step went
//   trainer.json            metricsBytes                              as digits of those figures make lines longer
//   report.json             seconds
//
// Of the run's folder beside its stages, run.json and report.json count; the page's state and the written reports are
// made from these and from the times.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';

const clockOf = {
  'stage.json': /^(started|seconds|parts)$/,
  'done.json': /^(started|finished|seconds|parts)$/,
  'trainer.json': /^metricsBytes$/,
  'report.json': /^seconds$/,
};
const clockOfMetrics = /^(step_time$|time\/|throughput\/)/;

function without(value, names) {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.test(name)));
}

/** The text of a file without its wall-clock fields, or its bytes. */
function timeless(path) {
  const name = basename(path);
  if (name === 'metrics.jsonl') {
    const lines = readFileSync(path, 'utf8').split('\n');
    return lines
      .map((line) => (line === '' ? '' : JSON.stringify(without(JSON.parse(line), clockOfMetrics))))
      .join('\n');
  }
  const clock = clockOf[name];
  if (clock === undefined) return readFileSync(path);
  return JSON.stringify(without(JSON.parse(readFileSync(path, 'utf8')), clock), null, 2);
}

/** A hash of each file of a run that counts, by its path. */
export function runFiles(run) {
  const inStages = readdirSync(join(run, 'stages'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  const paths = [...inStages, join(run, 'run.json'), join(run, 'report.json')];
  return new Map(
    paths.map((path) => [
      relative(run, path).replaceAll('\\', '/'),
      createHash('sha256').update(timeless(path)).digest('hex'),
    ]),
  );
}

/** What differs, a line each. */
export function differences(expected, got) {
  const paths = [...new Set([...expected.keys(), ...got.keys()])].sort();
  return paths.flatMap((path) => {
    if (!got.has(path)) return [`${path} is missing`];
    if (!expected.has(path)) return [`${path} was left behind`];
    return expected.get(path) === got.get(path) ? [] : [`${path} differs`];
  });
}
