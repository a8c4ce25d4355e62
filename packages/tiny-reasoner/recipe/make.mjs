/**
 * Makes the embedded model from nothing: tokenizer, training, export, evaluation on the held-out test split.
 * About an hour on two cores. A run that was stopped or killed continues; a complete one is only exported.
 *
 * Usage (after a build): node packages/tiny-reasoner/recipe/make.mjs [run folder, default runs/tiny-reasoner]
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const recipe = dirname(fileURLToPath(import.meta.url));
const root = resolve(recipe, '../../..');
const run = resolve(process.argv[2] ?? join(root, 'runs/tiny-reasoner'));
const target = join(recipe, '../model');
const cli = join(root, 'apps/cli/dist/main.js');

/** The two trainings, as options of `minke train sft`; the rest are its defaults. */
const trainings = [
  {
    folder: join(run, 'all-tasks'),
    from: ['--model-config', join(recipe, 'config.json'), '--tokenizer', join(run, 'tokenizer')],
    settings: {
      steps: 6000,
      'learning-rate': 0.002,
      warmup: 100,
      'final-fraction': 0.05,
      'bias-gamma': 0.01,
      seed: 0,
    },
  },
  {
    // Counting letters is learnt last, in a sudden phase; this stage is mostly that.
    folder: join(run, 'letters'),
    from: ['--init-from', join(run, 'all-tasks/model')],
    settings: {
      steps: 1600,
      'learning-rate': 0.001,
      warmup: 50,
      'final-fraction': 0.02,
      'bias-gamma': 0.005,
      seed: 1,
      weights: 'letter_counting=0.6,chain_sum=0.13,products=0.05,number_sorting=0.17,number_comparison=0.05',
    },
  },
];
const shared = { 'tokens-per-step': 2560, 'bias-until': 0.9, 'balance-alpha': 0.001 };

function minke(args, options = {}) {
  const { status, stdout } = spawnSync(process.execPath, [cli, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
  });
  if (status !== 0) process.exit(status ?? 1);
  return stdout;
}

/** Training time of a folder, over all the calls it took. */
function secondsOf(folder) {
  const file = join(folder, 'seconds.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : 0;
}

function addSeconds(folder, seconds) {
  const total = secondsOf(folder) + seconds;
  writeFileSync(join(folder, 'seconds.json'), String(total));
}

execFileSync(process.execPath, [join(recipe, 'make-tokenizer.mjs'), join(run, 'tokenizer')], {
  stdio: 'inherit',
});
const shown = (text) => (text.startsWith('/') ? relative(root, text) : text);
const commands = trainings.map(({ folder, from, settings }) => {
  const flags = Object.entries({ ...shared, ...settings }).flatMap(([name, value]) => [
    `--${name}`,
    String(value),
  ]);
  const args = ['train', 'sft', '--out', folder, ...from, ...flags];
  const begin = performance.now();
  minke(args);
  addSeconds(folder, (performance.now() - begin) / 1000);
  return ['minke', ...args.map(shown)].join(' ');
});
const last = trainings.at(-1).folder;

rmSync(target, { recursive: true, force: true });
mkdirSync(target);
cpSync(join(last, 'model'), target, { recursive: true });
cpSync(join(recipe, 'minke.json'), join(target, 'minke.json'));

const report = JSON.parse(
  minke(['eval', target, '--split', 'test', '--count', '500', '--seed', '0', '--json']),
);
const stages = Object.entries(report.families).map(([family, { n, passAt1 }]) => ({
  stage: 'final',
  metric: `pass@1/${family}`,
  value: passAt1.value,
  low: passAt1.low,
  high: passAt1.high,
  n,
  seeds: [0],
}));
// The training curve: every twentieth step is enough to see it.
const curve = trainings.flatMap(({ folder }) => {
  const lines = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  const every = lines.filter((_, i) => i === 0 || (i + 1) % 20 === 0);
  return every.map((line) => JSON.stringify({ stage: basename(folder), ...JSON.parse(line) }));
});
writeFileSync(join(recipe, 'metrics.jsonl'), `${curve.join('\n')}\n`);
const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
const seconds = Math.round(trainings.reduce((sum, { folder }) => sum + secondsOf(folder), 0));
const json = { stages, command: commands.join(' && '), commit, seed: 0, seconds };
writeFileSync(join(recipe, '../report.json'), `${JSON.stringify(json, null, 2)}\n`);
for (const { metric, value, low, high, n } of stages) {
  const percent = [value, low, high].map((share) => (100 * share).toFixed(1));
  console.log(`${metric}: ${percent[0]} % (95 % interval ${percent[1]} to ${percent[2]}, n ${n})`);
}
