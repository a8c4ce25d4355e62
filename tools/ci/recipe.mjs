// The whole recipe at its smallest size, as a person runs it: every stage, its measurements and the report, within five
// minutes on two cores. Numbers of so small a run say nothing; that each stage does its work is what is checked.
//
//   node tools/ci/recipe.mjs [run folder]      default: a temporary one

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
const folder = process.argv[2] ?? mkdtempSync(join(tmpdir(), 'minke-recipe-'));
const cli = join(root, 'apps/cli/dist/main.js');
let [passed, failed] = [0, 0];

function check(name, holds, found) {
  if (holds) passed++;
  else failed++;
  console.log(holds ? `ok     ${name}` : `FAILED ${name}: ${found}`);
}

const started = performance.now();
const { status, stdout, stderr } = spawnSync(
  process.execPath,
  [cli, 'train', 'recipe', '--preset', 'ci', '--out', folder, '--json'],
  { encoding: 'utf8', maxBuffer: 1 << 28 },
);
const seconds = (performance.now() - started) / 1000;
process.stdout.write(stderr);
check('ends well', status === 0, `exit code ${status}`);
check('takes less than five minutes', seconds < 300, `${seconds.toFixed(0)} s`);
if (status === 0) {
  const { report } = JSON.parse(stdout);
  const measured = new Map();
  for (const row of report.stages) {
    if (!measured.has(row.stage)) measured.set(row.stage, new Map());
    measured.get(row.stage).set(row.metric, row);
  }
  const expected =
    'base zero cold-start grpo-1 self-evolution sft-2 reward-model final distill student-rl'.split(' ');
  const missing = expected.filter((stage) => !measured.has(stage));
  check('measures every model', missing.length === 0, `none for ${missing.join(', ')}`);
  const untidy = report.stages.filter(
    ({ value, low, high }) => !Number.isFinite(value) || (low !== null && !(low <= value && value <= high)),
  );
  check('gives finite figures inside their intervals', untidy.length === 0, JSON.stringify(untidy[0]));
  const rate = (stage) => measured.get(stage)?.get('thinking rate')?.value;
  check(
    'R1-Zero thinks at least as often as its base',
    rate('zero') >= rate('base'),
    `${rate('zero')} after ${rate('base')}`,
  );
  check(
    'the reward model of helpfulness beats a coin',
    measured.get('reward-model')?.get('reward model/helpful held-out accuracy')?.value > 0.6,
    measured.get('reward-model')?.get('reward model/helpful held-out accuracy')?.value,
  );
  const logs = readdirSync(join(folder, 'stages')).map((name) =>
    join(folder, 'stages', name, 'metrics.jsonl'),
  );
  const differences = logs
    .filter((log) => existsSync(log))
    .flatMap((log) => {
      const lines = readFileSync(log, 'utf8').trim().split('\n');
      return lines.flatMap((line) => JSON.parse(line)['rollout/logprob_diff_max'] ?? []);
    });
  const largest = Math.max(...differences);
  check(
    `sampler and trainer agree to the last bit, over ${differences.length} rollouts`,
    differences.length >= 20 && largest === 0,
    largest,
  );
}
if (process.argv[2] === undefined) rmSync(folder, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
