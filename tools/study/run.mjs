// The study of merging and attention: arms of equal training FLOPs on real text and on reasoning tasks.
//
//   node tools/study/corpus.mjs runs/corpus                   # once
//   node tools/study/run.mjs --corpus runs/corpus --list      # the arms, their seeds, tokens and FLOPs
//   node tools/study/run.mjs --corpus runs/corpus             # all that is missing, one run after the other
//   node tools/study/run.mjs --corpus runs/corpus --only ours-2 --seed 1
//   node tools/study/report.mjs                                # table, intervals and plots of the results
//
// Needs a build (`pnpm build`). A run has its folder under `--out` (default runs/study): checkpoints, metrics.jsonl and a
// log; stopped at any moment and started again it goes on. Its result is a file of JSON under `--results` (default
// docs/study/results), written at the end; runs that have one are not done again. `--smoke` trains the same models on a
// hundredth of the tokens, into folders of its own.

import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { auto } from '../../packages/gpu-backends/dist/index.js';
import { repositoryRoot } from '../scripts/process.mjs';
import { arms, planArm, settings } from './arms.mjs';
import { taskData, textData } from './data.mjs';
import { trainArm } from './train-arm.mjs';

class UsageError extends Error {}

const flags = {
  corpus: { type: 'string' },
  out: { type: 'string' },
  results: { type: 'string' },
  only: { type: 'string', multiple: true },
  seed: { type: 'string', multiple: true },
  threads: { type: 'string' },
  'stop-after': { type: 'string' },
  setting: { type: 'string' },
  smoke: { type: 'boolean', default: false },
  list: { type: 'boolean', default: false },
};

/**
 * Does the runs that are asked for and have no result yet; resolves with the results, in order.
 *
 * @param {string[]} args of the command line
 * @param {{ say?: (line: string) => void, signal?: AbortSignal }} [how]
 */
export async function study(args, { say = console.log, signal } = {}) {
  const { values } = parse(args);
  const setting = settings[values.setting ?? (values.smoke ? 'smoke' : 'full')];
  if (setting === undefined)
    throw new UsageError(
      `expected a setting among ${Object.keys(settings).join(', ')}, got ${values.setting}`,
    );
  const suffix = setting.name === 'full' ? '' : `-${setting.name}`;
  const out = resolve(values.out ?? join(repositoryRoot, `runs/study${suffix}`));
  const results = resolve(values.results ?? defaultResults(suffix));
  const runs = chosen(values).flatMap((arm) =>
    seedsOf(arm, values).map((seed) => {
      const name = `${arm.name}-${seed}`;
      return { arm, seed, folder: join(out, name), result: join(results, `${name}.json`) };
    }),
  );
  const data = dataOf(values, setting, out);
  if (values.list) {
    for (const { arm, seed, result } of runs) say(listed(arm, seed, setting, data(arm), existsSync(result)));
    return [];
  }
  const threads = values.threads === undefined ? cpus().length : wholeNumber('threads', values.threads);
  const backend = await auto({ threads });
  const commit = revision();
  const stopAfter = values['stop-after'] && wholeNumber('stop-after', values['stop-after']);
  const done = [];
  for (const run of runs) {
    mkdirSync(run.folder, { recursive: true });
    const log = (line) => {
      appendFileSync(join(run.folder, 'log.txt'), `${line}\n`);
      say(line);
    };
    const own = { ...run, setting, backend, commit, signal, say: log, ...(stopAfter && { stopAfter }) };
    try {
      done.push(await trainArm({ ...own, data: data(run.arm) }));
    } catch (error) {
      if (error.code !== 'aborted' || !stopAfter || signal?.aborted) throw error;
    }
  }
  return done;
}

/** Where results of a study are kept. */
export const defaultResults = (suffix = '') =>
  join(repositoryRoot, suffix === '' ? 'docs/study/results' : `runs/study${suffix}/results`);

function parse(args) {
  try {
    return parseArgs({ args, options: flags, allowPositionals: false });
  } catch (cause) {
    throw new UsageError(cause.message);
  }
}

/** The arms that are asked for. */
function chosen({ only = [] }) {
  const unknown = only.filter((name) => !arms.some((arm) => arm.name === name));
  if (unknown.length > 0)
    throw new UsageError(
      `expected arms among ${arms.map(({ name }) => name).join(', ')}, got ${unknown.join(', ')}`,
    );
  return only.length === 0 ? arms : arms.filter(({ name }) => only.includes(name));
}

const seedsOf = ({ seeds }, { seed }) =>
  seed === undefined
    ? Array.from({ length: seeds }, (_, i) => i)
    : seed.map((text) => wholeNumber('seed', text));

function wholeNumber(name, text) {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`expected a whole number for --${name}, got ${text}`);
  return Number(text);
}

/** Data of an arm, read when it is first needed. */
function dataOf({ corpus }, setting, out) {
  const made = {};
  return ({ task }) => {
    if (task === 'text' && corpus === undefined)
      throw new UsageError('expected --corpus and a folder made by tools/study/corpus.mjs, got none');
    made[task] ??= task === 'text' ? textData(out, resolve(corpus), setting) : taskData(setting);
    return made[task];
  };
}

function listed(arm, seed, setting, { tokenizer }, done) {
  const { tokens, flopsPerToken, budget } = planArm(arm, setting, tokenizer.vocabSize);
  return [
    `${arm.name}-${seed}`.padEnd(20),
    `${(tokens / 1e6).toFixed(2)}M tokens`.padStart(14),
    `${(flopsPerToken / 1e6).toFixed(2)} MFLOP each`.padStart(18),
    `${(budget / 1e12).toFixed(1)} TFLOP`.padStart(14),
    done ? '  done' : '',
  ].join('');
}

/** The commit, with `+` where files differ from it. */
function revision() {
  const git = (...args) => execFileSync('git', args, { cwd: repositoryRoot, encoding: 'utf8' }).trim();
  const head = git('rev-parse', '--short=12', 'HEAD');
  return git('status', '--porcelain', '--untracked-files=no') === '' ? head : `${head}+`;
}

if (process.argv[1] === import.meta.filename) {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => stop.abort());
  try {
    await study(process.argv.slice(2), { signal: stop.signal });
  } catch (error) {
    if (!(error instanceof UsageError) && error.code !== 'aborted') throw error;
    console.error(`study: ${error.message}`);
    process.exitCode = error instanceof UsageError ? 2 : 130;
  }
  process.exit();
}
