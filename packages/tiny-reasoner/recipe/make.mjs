/**
 * Makes the embedded model from nothing: tokenizer, training, export, evaluation on the held-out test split.
 * About an hour on two cores. A run that was stopped or killed continues; a complete one is only exported.
 *
 * Usage (after a build): node packages/tiny-reasoner/recipe/make.mjs [run folder, default runs/tiny-reasoner]
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const recipe = dirname(fileURLToPath(import.meta.url));
const root = resolve(recipe, '../../..');
const run = resolve(process.argv[2] ?? join(root, 'runs/tiny-reasoner'));
const target = join(recipe, '../model');
const cli = join(root, 'apps/cli/dist/main.js');
const seed = 0;

/** What differs from the trainer's defaults. */
const settings = {
  steps: 6000,
  'tokens-per-step': 2560,
  'learning-rate': 0.002,
  warmup: 100,
  'final-fraction': 0.05,
  'bias-gamma': 0.01,
  'bias-until': 0.9,
  'balance-alpha': 0.001,
  seed,
};

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

const started = performance.now();
execFileSync(process.execPath, [join(recipe, 'make-tokenizer.mjs'), join(run, 'tokenizer')], {
  stdio: 'inherit',
});
const from = ['--model-config', join(recipe, 'config.json'), '--tokenizer', join(run, 'tokenizer')];
const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
minke(['train', 'sft', '--out', run, ...from, ...flags]);

rmSync(target, { recursive: true, force: true });
mkdirSync(target);
cpSync(join(run, 'model'), target, { recursive: true });
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
const metrics = readFileSync(join(run, 'metrics.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));
const last = metrics.at(-1);
const shown = (path) => relative(root, path);
const command = [
  'minke',
  'train',
  'sft',
  '--out',
  shown(run),
  ...from.map((part) => (part.startsWith('/') ? shown(part) : part)),
  ...flags,
];
const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
const summary = {
  tokens: last.num_tokens,
  loss: last.loss,
  maxVio: last.max_vio,
  deadExperts: last.dead_experts,
};
const seconds = Math.round((performance.now() - started) / 1000);
const json = { stages, command: command.join(' '), commit, seed, seconds, training: summary };
writeFileSync(join(recipe, '../report.json'), `${JSON.stringify(json, null, 2)}\n`);
// Every twentieth step is enough to see the curve.
const log = metrics
  .filter(({ global_step: step }) => step === 1 || step % 20 === 0)
  .map((line) => JSON.stringify(line));
writeFileSync(join(recipe, 'metrics.jsonl'), `${log.join('\n')}\n`);
console.log(
  stages
    .map(
      ({ metric, value, low, high, n }) =>
        `${metric}: ${(100 * value).toFixed(1)} % (${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}, n ${n})`,
    )
    .join('\n'),
);
