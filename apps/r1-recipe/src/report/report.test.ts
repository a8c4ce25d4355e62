import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { chartsOf } from '../logs/charts.ts';
import { outputHashes } from '../run/content-hash.ts';
import { lineChart, lineFigure, niceTicks } from './chart.ts';
import { passCurves, stageTables } from './stage-table.ts';
import { timeRow, totalTime } from './time-table.ts';
import { duration, shortNumber } from './words.ts';
import { writeReport } from './write-report.ts';

// A small recorded run: base, zero, rejection and an evaluation of both models. MINKE_UPDATE_GOLDEN=1 records its
// report anew.
const recorded = fileURLToPath(new URL('./fixtures/run', import.meta.url));
const golden = fileURLToPath(new URL('./fixtures/report', import.meta.url));

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'minke-report-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function copyOf(name: string): string {
  const folder = join(root, name);
  cpSync(recorded, folder, { recursive: true });
  return folder;
}

it('gives the recorded report from the recorded run, to the byte', () => {
  const run = copyOf('golden');
  writeReport(run);
  const wanted = process.env.MINKE_UPDATE_GOLDEN === '1';
  for (const name of ['report.json', 'report.md', 'report.html']) {
    const text = readFileSync(join(run, name), 'utf8');
    if (wanted) writeFileSync(join(golden, name), text);
    expect(text, name).toBe(readFileSync(join(golden, name), 'utf8'));
  }
});

/** The recorded run with a measurement of its last model as the final one. */
function withFinal(name: string): string {
  const run = copyOf(name);
  const edit = (path: string, change: (value: Record<string, unknown>) => void) => {
    const value = JSON.parse(readFileSync(join(run, path), 'utf8'));
    change(value);
    writeFileSync(join(run, path), JSON.stringify(value));
  };
  const view = {
    name: 'measure-final',
    title: 'measure-final',
    inputs: ['zero'],
    folder: 'stages/measure-final-5',
  };
  edit('state.json', (state) => {
    const [base, ...others] = state.stages as Record<string, unknown>[];
    const rest = { state: 'done', why: 'never ran', seconds: 10, progress: null, problem: null };
    state.stages = [base, ...others, { ...view, ...rest }];
  });
  edit('stages/base-000000000001/stage.json', (record) => {
    const reasoning = { gcd: { weight: 0.3 }, products: { weight: 0.1 } };
    record.settings = { tasks: [{ reasoning }, { general: { greeting: 1 } }] };
  });
  mkdirSync(join(run, view.folder));
  const row = (metric: string, value: number) => ({
    metric,
    value,
    low: null,
    high: null,
    n: 200,
    seeds: [0],
  });
  const rows = [
    { ...row('pass@1', 0.58), low: 0.56, high: 0.6, n: 2000 },
    row('family/gcd', 0.75),
    row('family/products', 0.5),
    row('set/beyond-search', 0.025),
  ];
  writeFileSync(join(run, view.folder, 'evaluation.json'), JSON.stringify({ stage: 'final', rows }));
  return run;
}

it('puts the card of the final model beside it, to the byte, and changes no output of its stage', () => {
  const run = withFinal('card');
  const stage = join(run, 'stages/zero-000000000002');
  const before = outputHashes(stage);
  writeReport(run);
  const card = readFileSync(join(stage, 'model/README.md'), 'utf8');
  const recordedCard = join(golden, 'model-card.md');
  if (process.env.MINKE_UPDATE_GOLDEN === '1') writeFileSync(recordedCard, card);
  expect(card).toBe(readFileSync(recordedCard, 'utf8'));
  expect(outputHashes(stage)).toEqual(before);
  writeReport(run);
  expect(readFileSync(join(stage, 'model/README.md'), 'utf8')).toBe(card);
});

it('says on the card what the model is, came from, can do and cannot', () => {
  const run = withFinal('card facts');
  writeReport(run);
  const card = readFileSync(join(run, 'stages/zero-000000000002/model/README.md'), 'utf8');
  const [, front, text] = card.split(/^---$/m) as [string, string, string];
  for (const line of [
    'license: apache-2.0',
    'library_name: transformers',
    '- deepseek_v3',
    '      name: "gcd"',
  ])
    expect(front.split('\n')).toContain(line);
  expect(front.match(/value: (.*)/g)).toEqual(['value: 0.580', 'value: 0.750', 'value: 0.500']);
  // Its stages, without those that only came after it.
  expect(text).toMatch(/\| Base \| pre-training/);
  expect(text).not.toContain('| Rejection sampling |');
  for (const part of [
    ...['0.580 (0.560 to 0.600)', '| problems | gcd | 75.0 % |', '| chat | greeting | 100.0 % |'],
    ...['Planted in the base mixture', 'minke serve', 'beyond-search 0.025', '| R1-Zero: greedy accuracy | '],
  ])
    expect(text).toContain(part);
  expect(text).not.toMatch(/undefined|NaN|\d (min|s)\b/);
});

it('makes no card of a run without a final model', () => {
  const run = copyOf('no card');
  writeReport(run);
  const cards = readdirSync(run, { recursive: true }).filter((path) => String(path).endsWith('README.md'));
  expect(cards).toEqual([]);
});

it('gives the same report again, and names its plots', () => {
  const run = copyOf('twice');
  const read = () => {
    writeReport(run);
    const plots = readdirSync(join(run, 'plots')).sort();
    return [
      plots,
      ...['report.json', 'report.md', 'report.html'].map((name) => readFileSync(join(run, name), 'utf8')),
    ];
  };
  const first = read();
  expect(read()).toEqual(first);
  const [plots, , markdown] = first as [string[], string, string];
  expect(plots).toContain('pass-at-k.svg');
  expect(plots).toContain('zero-reward.svg');
  for (const plot of plots) expect(markdown).toContain(`(plots/${plot})`);
  const svg = readFileSync(join(run, 'plots/zero-reward.svg'), 'utf8');
  expect(svg).toMatch(
    /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 360 170" role="img" aria-label="Reward: /,
  );
});

it('keeps the contract of report.json', () => {
  const report = writeReport(copyOf('contract'));
  expect(Object.keys(report)).toEqual([
    ...['stages', 'command', 'commit', 'seed', 'seconds', 'bars', 'compute'],
  ]);
  expect(report.bars.map(({ outcome }) => outcome)).toEqual(['met', 'missed', 'not measured']);
  expect(report.stages.find(({ stage }) => stage === 'base')).toEqual({
    stage: 'base',
    metric: 'pass@1',
    value: 0.21,
    low: 0.19,
    high: 0.23,
    n: 2000,
    seeds: [0],
  });
});

it('needs nothing else in report.html, and shows what runs say as text', () => {
  const run = copyOf('text');
  const state = join(run, 'state.json');
  writeFileSync(state, readFileSync(state, 'utf8').replaceAll('R1-Zero', '<script>alert(1)</script>'));
  writeReport(run);
  const html = readFileSync(join(run, 'report.html'), 'utf8');
  expect(html).not.toMatch(/<script|src=|href=|@import|url\(/);
  expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
});

it('names a damaged evaluation, and a folder without a run', () => {
  const run = copyOf('damaged');
  const path = join(run, 'stages/evaluation-000000000004/evaluation.json');
  for (const text of ['', '{"stage":"base"}', '{"stage":"base","rows":[{"metric":"pass@1","value":null}]}']) {
    writeFileSync(path, text);
    expect(() => writeReport(run)).toThrow(/evaluation\.json: expected /);
  }
  mkdirSync(join(root, 'empty'));
  expect(() => writeReport(join(root, 'empty'))).toThrow(/expected a run with state\.json/);
});

it('sums times from the clocks of the steps, and from what else a stage is known to do', () => {
  const step = {
    step_time: 2,
    'time/sampling': 0.5,
    'time/update': 0.25,
    'throughput/sampled_tokens_per_second': 1000,
    'throughput/trained_tokens_per_second': 400,
  };
  const rl = timeRow('zero', 6, [[step, step]], { evaluation: 1 });
  expect(rl).toMatchObject({
    sampledTokens: 2000,
    trainedTokens: 400,
    sampledPerSecond: 1000,
    trainedPerSecond: 400,
  });
  expect(rl.parts).toEqual({ sampling: 2, update: 1, evaluation: 1, other: 2 });
  const sft = timeRow('sft', 10, [[{ num_tokens: 500 }, { num_tokens: 1000 }]], { evaluation: 2 });
  expect(sft).toMatchObject({ trainedTokens: 1000, trainedPerSecond: 125, sampledPerSecond: null });
  const drawn = timeRow(
    'rejection',
    5,
    [
      [
        { sampled: 4, num_tokens: 50 },
        { sampled: 4, num_tokens: 150 },
      ],
    ],
    {},
  );
  expect(drawn).toMatchObject({ sampledTokens: 200, sampledPerSecond: 40, trainedTokens: 0 });
  expect(totalTime([rl, sft, drawn])).toMatchObject({
    seconds: 21,
    sampledTokens: 2200,
    parts: { sampling: 7, update: 9, evaluation: 3, other: 2 },
  });
});

it('begins the curve of pass@k with the pass@1 that was sampled as the rest was', () => {
  const row = (metric: string, value: number) => ({ metric, value, low: null, high: null, n: 9, seeds: [0] });
  const greedy = { stage: 'a', rows: [row('pass@1', 0.5), row('pass@8', 0.8)] };
  const sampled = { stage: 'b', rows: [row('pass@1', 0.5), row('pass@1 at T 0.6', 0.4), row('pass@8', 0.8)] };
  const single = { stage: 'c', rows: [row('pass@1', 0.5)] };
  expect(passCurves([greedy, sampled, single])).toEqual([
    { label: 'a', x: [1, 8], y: [0.5, 0.8] },
    { label: 'b', x: [1, 8], y: [0.4, 0.8] },
  ]);
  expect(stageTables([sampled])[0]?.metrics).toEqual(['pass@1', 'pass@1 at T 0.6']);
});

it('draws what is there: one point, equal values, none at all', () => {
  const curve = (y: number[]) => ({ label: 'a<b', x: y.map((_, i) => i + 1), y });
  for (const y of [[], [3], [2, 2, 2], [0, 1e-9]]) {
    const svg = lineChart({ title: 'T', curves: [curve(y)] });
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(svg).toContain('role="img"');
  }
  expect(lineFigure({ title: 'x & y', curves: [curve([1, 2])] })).toContain('a&lt;b <b>2</b>');
  expect(niceTicks(0.1, 0.93, 4)).toEqual([0, 0.5, 1]);
  expect(niceTicks(-2, 7, 4)).toEqual([-5, 0, 5, 10]);
});

it("finds the curves of a log under the field's names, nulls left out", () => {
  const charts = chartsOf([
    { global_step: 1, reward: 0.5, 'rewards/accuracy/mean': null, loss: 1 },
    { global_step: 2, reward: 0.6, 'rewards/accuracy/mean': 0.7, loss: Number.NaN },
  ]);
  expect(charts.map(({ id }) => id)).toEqual(['reward', 'accuracy', 'loss']);
  expect(charts[1]?.curves).toEqual([{ label: 'accuracy', x: [2], y: [0.7] }]);
});

it('writes numbers and times short', () => {
  expect([0.8341, 12, 1234.5, 45678, 2.5e6, 0.00042, 0.5].map(shortNumber)).toEqual([
    '0.834',
    '12',
    '1235',
    '45.7k',
    '2.5M',
    '4.2e−4',
    '0.5',
  ]);
  expect([0.04, 9.97, 59.6, 200, 3725].map(duration)).toEqual([
    '0.0 s',
    '10 s',
    '1 min 00 s',
    '3 min 20 s',
    '1 h 02 min',
  ]);
});
