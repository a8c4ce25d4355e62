// Kills the recipe, again and again, and looks whether it minds.
//
//   pnpm kills [--kills N] [--seed S] [--keep folder] [--stages module]
//                                  default: 30 kills, seed 0, a temporary folder, recipe.mjs beside this
//
// The whole recipe at a tiny size (recipe.mjs) runs once undisturbed. Then it runs in another folder, where SIGKILL
// takes its whole process group at seeded moments spread over all stages (plan.mjs), and is started again each time.
// In the end every file of every stage must be the same, byte for byte, but for the wall-clock fields that compare.mjs
// lists. The moments are seeded by progress, not to the microsecond, so two runs do not die at the same instruction.

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { differences, runFiles } from './compare.mjs';
import { interruptedStage, metricsBytes, planKills, stagesOf, unfinishedCheckpoint } from './plan.mjs';

const here = import.meta.dirname;
const cli = resolve(here, '../../apps/cli/dist/main.js');
const { values: options } = parseArgs({
  options: {
    kills: { type: 'string', default: '30' },
    seed: { type: 'string', default: '0' },
    keep: { type: 'string' },
    stages: { type: 'string', default: join(here, 'recipe.mjs') },
  },
});
const root = options.keep === undefined ? mkdtempSync(join(tmpdir(), 'minke-kills-')) : resolve(options.keep);
let [passed, failed] = [0, 0];

function check(name, problems) {
  if (problems.length === 0) passed++;
  else failed++;
  console.log(problems.length === 0 ? `ok     ${name}` : `FAILED ${name}`);
  for (const problem of problems.slice(0, 20)) console.log(`       ${problem}`);
}

/** Starts the recipe in a folder, in a process group of its own. */
function start(name, killAt) {
  const cwd = join(root, name);
  mkdirSync(cwd, { recursive: true });
  const hook = killAt === undefined ? [] : ['--import', pathToFileURL(join(here, 'at-rename.mjs')).href];
  const stages = resolve(options.stages);
  const recipe = ['train', 'recipe', '--stages', stages, '--preset', 'ci', '--out', 'run'];
  const child = spawn(process.execPath, [...hook, cli, ...recipe], {
    ...{ cwd, detached: true, stdio: ['ignore', 'ignore', 'pipe'] },
    env: { ...process.env, ...(killAt && { KILL_AT_RENAME: JSON.stringify(killAt) }) },
  });
  const run = { child, text: '', over: false };
  running.add(child);
  child.stderr.setEncoding('utf8').on('data', (text) => {
    run.text += text;
  });
  run.ended = new Promise((done) => {
    child.once('close', (code, signal) => {
      run.over = true;
      running.delete(child);
      done({ code, signal });
    });
  });
  return run;
}

const began = (run, stage) => run.text.includes(`▸ ${stage} `);
const finished = (run, stage) => run.text.includes(`✓ ${stage} `);

/** Waits until something holds, the stage is over, or the process. */
async function until(run, stage, holds) {
  while (!run.over && !finished(run, stage) && !holds()) await sleep(1);
}

/** Waits a while, but not beyond the end of the stage: the machine may be faster than it was in the first run. */
function pauseIn(run, stage, milliseconds) {
  const end = performance.now() + milliseconds;
  return until(run, stage, () => performance.now() >= end);
}

/** Runs until the moment of a kill. Resolves with how the process ended. */
async function killOnce({ stage, kind, share, pause, rename }, folder) {
  const run = start('killed', kind === 'rename' ? { stage: stage.name, ...rename } : undefined);
  await until(run, stage.name, () => began(run, stage.name));
  if (kind === 'rename') await until(run, stage.name, () => false);
  else if (kind === 'writing') {
    await until(run, stage.name, () => unfinishedCheckpoint(folder, stage.name) !== undefined);
    await pauseIn(run, stage.name, 3 * pause);
  } else if (stage.metricsBytes > 0) {
    await until(run, stage.name, () => metricsBytes(folder, stage.name) >= share * stage.metricsBytes);
    await pauseIn(run, stage.name, pause * stage.stepMs);
  } else await pauseIn(run, stage.name, share * stage.seconds * 1000);
  if (!run.over) process.kill(-run.child.pid, 'SIGKILL');
  return { ...(await run.ended), text: run.text };
}

// A recipe in its own process group would outlive us.
const running = new Set();
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => {
    for (const { pid } of running) process.kill(-pid, 'SIGKILL');
    process.exit(130);
  });

const begin = performance.now();
const seconds = () => `${((performance.now() - begin) / 1000).toFixed(0)} s`;
const whole = start('whole');
const { code } = await whole.ended;
check(`the recipe runs undisturbed, ${seconds()}`, code === 0 ? [] : [whole.text.trim().split('\n').at(-1)]);
if (code === 0) await killAndCompare();
if (options.keep === undefined) rmSync(root, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function killAndCompare() {
  const stages = stagesOf(join(root, 'whole/run'));
  const folder = join(root, 'killed/run');
  const plan = planKills(stages, { kills: Number(options.kills), seed: Number(options.seed) });
  const hits = new Map(stages.map(({ name }) => [name, 0]));
  const problems = [];
  for (const kill of plan) {
    const { code, signal, text } = await killOnce(kill, folder);
    const hit = interruptedStage(folder);
    const planned = `${kill.stage.name}, ${kill.text}`;
    if (signal !== 'SIGKILL')
      problems.push(`${planned}: ended with ${code}: ${text.trim().split('\n').at(-1)}`);
    else if (hit !== undefined) hits.set(hit.name, hits.get(hit.name) + 1);
    console.log(
      `${String(plan.indexOf(kill) + 1).padStart(4)}  ${planned.padEnd(58)} ${hit?.text ?? 'hit between two stages'}`,
    );
  }
  check(`${plan.length} kills, ${seconds()}`, problems);
  const last = start('killed');
  const { code } = await last.ended;
  check(
    `the last start runs to the end, ${seconds()}`,
    code === 0 ? [] : [last.text.trim().split('\n').at(-1)],
  );
  console.log('');
  const [expected, got] = [runFiles(join(root, 'whole/run')), runFiles(folder)];
  for (const { name } of stages) {
    const [own, other] = [expected, got].map(
      (files) =>
        new Map(
          [...files].filter(
            ([path]) =>
              path.startsWith(`stages/${name}-`) &&
              /^[0-9a-f]{12}\//.test(path.slice(`stages/${name}-`.length)),
          ),
        ),
    );
    check(
      `${name.padEnd(30)} killed ${String(hits.get(name)).padStart(2)} times, ${own.size} files the same`,
      differences(own, other),
    );
  }
  check('everything else in the run folder', differences(expected, got));
}
