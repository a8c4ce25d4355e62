import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type CountingSettings, countingStages } from '../testing/counting-recipe.mjs';
import { planRun, type RunnerOptions, runStages, type Selection, type Stage } from './index.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'minke-run-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const options = (more: Partial<RunnerOptions> = {}): RunnerOptions => ({
  folder,
  recipe: 'counting',
  seed: 0,
  command: 'test',
  commit: 'none',
  ...more,
});

/** Which stages ran, and which were there. */
async function run(changes: Partial<CountingSettings> = {}, more: Partial<RunnerOptions> = {}) {
  const results = await runStages(countingStages(changes), options(more));
  return Object.fromEntries(results.map(({ stage, state }) => [stage, state]));
}

function plan(changes: Partial<CountingSettings> = {}, selection: Selection = {}) {
  const stages = planRun(countingStages(changes), { folder, seed: 0, ...selection });
  return Object.fromEntries(stages.map(({ stage, state, why }) => [stage.name, `${state}: ${why}`]));
}

const folderOf = (name: string): string => {
  const [found] = readdirSync(join(folder, 'stages')).filter((entry) => entry.startsWith(`${name}-`));
  return join(folder, 'stages', found as string);
};

it('runs every stage once, then reuses all of them', async () => {
  expect(await run()).toEqual({ numbers: 'done', squares: 'done', total: 'done', apart: 'done' });
  expect(await run()).toEqual({ numbers: 'reused', squares: 'reused', total: 'reused', apart: 'reused' });
});

it('reruns what depends on a changed setting, nothing else, and finds earlier outputs again', async () => {
  await run();
  expect(await run({ modulus: 7 })).toEqual({
    numbers: 'reused',
    squares: 'done',
    total: 'done',
    apart: 'reused',
  });
  expect(await run()).toEqual({ numbers: 'reused', squares: 'reused', total: 'reused', apart: 'reused' });
});

it('stops the wave where a rerun gives the same bytes', async () => {
  await run({ modulus: 1000 });
  // All squares are below both: squares.txt is the same.
  expect(await run({ modulus: 2000 })).toEqual({
    numbers: 'reused',
    squares: 'done',
    total: 'reused',
    apart: 'reused',
  });
});

it('reruns a stage whose code has a new version', async () => {
  await run();
  const newer = countingStages().map((stage) => (stage.name === 'apart' ? { ...stage, version: 2 } : stage));
  const results = await runStages(newer, options());
  expect(results.filter(({ state }) => state === 'done').map(({ stage }) => stage)).toEqual(['apart']);
});

it('says what would run and why, and changes nothing', async () => {
  expect(plan()).toEqual({
    numbers: 'run: never ran',
    squares: 'waits: after numbers, if that comes out differently',
    total: 'waits: after squares, if that comes out differently',
    apart: 'run: never ran',
  });
  expect(readdirSync(folder)).toEqual([]);
  await run();
  expect(plan({ modulus: 7 })).toEqual({
    numbers: 'done: in 0 s',
    squares: 'run: changed: settings (modulus)',
    total: 'waits: after squares, if that comes out differently',
    apart: 'done: in 0 s',
  });
  expect(plan({}, { only: ['squares'], force: ['squares'] })).toEqual({
    numbers: 'done: in 0 s',
    squares: 'run: asked for',
    total: 'left out: not asked for',
    apart: 'left out: not asked for',
  });
  expect(plan({}, { from: 'squares' }).total).toBe('run: asked for, after squares');
});

it('runs only the stages asked for and what they need', async () => {
  expect(await run({}, { only: ['squares'] })).toEqual({ numbers: 'done', squares: 'done' });
});

it('runs a stage afresh with force, and with from all that depend on it', async () => {
  await run();
  expect(await run({}, { force: ['numbers'] })).toEqual({
    numbers: 'done',
    squares: 'reused',
    total: 'reused',
    apart: 'reused',
  });
  expect(await run({}, { from: 'squares' })).toEqual({
    numbers: 'reused',
    squares: 'done',
    total: 'done',
    apart: 'reused',
  });
});

it('goes on after an abort and a failure, and keeps the time of all tries', async () => {
  const controller = new AbortController();
  const stopped = runStages(
    countingStages({ pauseMs: 2 }),
    options({
      signal: controller.signal,
      onEvent: (event) => event.type === 'progress' && controller.abort(),
    }),
  );
  await expect(stopped).rejects.toMatchObject({
    code: 'aborted',
    message: /^stage numbers: stopped after step/,
  });
  expect(plan()).toMatchObject({ numbers: 'continue: was interrupted' });
  expect(await run()).toMatchObject({ numbers: 'done', total: 'done' });

  const failing = countingStages({ max: 5 }).map((stage) =>
    stage.name === 'squares' ? { ...stage, run: () => Promise.reject(new Error('no squares today')) } : stage,
  );
  await expect(runStages(failing, options())).rejects.toThrow('stage squares: no squares today');
  expect(await run({ max: 5 })).toMatchObject({ numbers: 'reused', squares: 'done' });
});

it('names damaged records and changed outputs, and force repairs them', async () => {
  await run();
  const done = join(folderOf('numbers'), 'done.json');
  const whole = readFileSync(done, 'utf8');
  for (const [text, complaint] of [
    ['', /done\.json: expected a JSON object, got an empty file; run the stage afresh with --force numbers/],
    [whole.slice(0, 90), /done\.json: expected a JSON object/],
    [whole.replace(/"hash": "../, '"hash": "zz'), /expected hashes of the outputs that agree/],
    [whole.replace(/"key": "../, '"key": "zz'), /the folder is of another recipe/],
  ] as const) {
    writeFileSync(done, text);
    await expect(run()).rejects.toMatchObject({ code: 'invalid-file', message: complaint });
  }
  writeFileSync(done, whole);
  writeFileSync(join(folderOf('numbers'), 'numbers.txt'), '1\n');
  await expect(run()).rejects.toMatchObject({
    code: 'invalid-file',
    message: /changed or missing numbers\.txt/,
  });
  expect(await run({}, { force: ['numbers'] })).toMatchObject({ numbers: 'done', squares: 'reused' });
});

it('refuses a folder of another recipe or seed, or one in use', async () => {
  await run();
  await expect(run({}, { recipe: 'other' })).rejects.toMatchObject({
    code: 'invalid-config',
    message: /expected a folder of recipe other with seed 0, got one of counting with seed 0/,
  });
  await expect(run({}, { seed: 1 })).rejects.toThrow('with seed 1');
  const [numbers] = countingStages({ max: 3 }) as [Stage];
  const nested: Stage = { ...numbers, run: () => run().then(() => undefined) };
  await expect(runStages([nested], options())).rejects.toMatchObject({
    code: 'unsupported',
    message: new RegExp(`expected a run folder that no other process uses, got process ${process.pid}`),
  });
});

it('takes over the lock of a process that is gone', async () => {
  await run();
  const gone = { pid: 2 ** 22 + 1, host: (await import('node:os')).hostname(), ticks: null };
  writeFileSync(join(folder, 'lock'), JSON.stringify(gone));
  expect(await run()).toMatchObject({ numbers: 'reused' });
  // The id is in use again, by a process that started at another time.
  writeFileSync(join(folder, 'lock'), JSON.stringify({ ...gone, pid: process.pid, ticks: '1' }));
  expect(await run()).toMatchObject({ numbers: 'reused' });
  expect(readdirSync(folder).sort()).toEqual(['run.json', 'stages']);
});

it('names all problems of stages that do not fit together', async () => {
  const stage = (name: string, inputs: Record<string, string> = {}, settings: unknown = {}): Stage => ({
    name,
    version: 1,
    inputs,
    settings,
    run: async () => undefined,
  });
  const start = (stages: Stage[]) => runStages(stages, options());
  await expect(
    start([stage('a', { x: 'b' }), stage('a'), stage('C', {}, { f: Number.NaN })]),
  ).rejects.toThrow(
    'recipe: expected input x of a to be one of a, C, got "b"; each name once, got a twice; names like grpo-1, got "C"; settings of C in plain JSON, got NaN at $.f; correct the stages',
  );
  await expect(
    start([stage('a', { x: 'c' }), stage('b', { y: 'a' }), stage('c', { z: 'b' })]),
  ).rejects.toThrow('expected no cycle of inputs, got a -> c -> b -> a');
  await expect(start([])).rejects.toThrow('one stage or more');
  await expect(run({}, { only: ['nothing'], from: 'nowhere' })).rejects.toThrow(
    'expected stages out of numbers, squares, total, apart, got nothing for only; nowhere for from',
  );
});
