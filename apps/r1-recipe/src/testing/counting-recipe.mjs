// Three small real stages for tests: numbers are drawn step by step with checkpoints, squared, and summed. They keep
// the contracts of the recipe's stages: metrics.jsonl, samples.jsonl and evaluation.json, the same bytes after a kill.
// Plain JavaScript, because processes that tests kill run it without a build.

import { existsSync, mkdirSync, readFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MinkeError, Random } from '@minke/core';

export const defaultSettings = { count: 40, max: 10, pauseMs: 0, modulus: 1000 };

/** The stages; settings change what one stage does. */
export function countingStages(changes = {}) {
  const { count, max, pauseMs, modulus } = { ...defaultSettings, ...changes };
  return [
    {
      name: 'numbers',
      title: 'Numbers',
      version: 1,
      inputs: {},
      settings: { count, max },
      run: (context) => drawNumbers(context, pauseMs),
    },
    { name: 'squares', version: 1, inputs: { numbers: 'numbers' }, settings: { modulus }, run: square },
    { name: 'total', version: 1, inputs: { squares: 'squares' }, settings: {}, run: total },
    { name: 'apart', version: 1, inputs: {}, settings: {}, run: apart },
  ];
}

/** As a module of a recipe, the stages of a preset. */
export default function stagesOf(preset) {
  return countingStages({ count: preset === 'ci' ? 20 : 200, pauseMs: Number(process.env.PAUSE_MS ?? 5) });
}

async function drawNumbers({ folder, settings, seed, signal, progress, log }, pauseMs) {
  mkdirSync(join(folder, 'checkpoints'), { recursive: true });
  const statePath = join(folder, 'checkpoints/state.json');
  const files = ['numbers.txt', 'metrics.jsonl', 'samples.jsonl'].map((name) => join(folder, name));
  const state = existsSync(statePath)
    ? JSON.parse(readFileSync(statePath, 'utf8'))
    : { step: 0, bytes: files.map(() => 0), random: new Random(seed, 1).state() };
  const random = Random.from(state.random);
  files.forEach((file, i) => {
    if (existsSync(file)) truncateSync(file, state.bytes[i]);
    else writeFileSync(file, '');
  });
  const save = (step) => {
    const bytes = files.map((file) => readFileSync(file).length);
    writeFileSync(`${statePath}.tmp`, JSON.stringify({ step, bytes, random: random.state() }));
    renameSync(`${statePath}.tmp`, statePath);
  };
  log(`from step ${state.step}`);
  for (let step = state.step; step < settings.count; step++) {
    const begin = performance.now();
    await sleep(pauseMs);
    const number = random.integer(0, settings.max);
    const line = (value) => `${JSON.stringify(value)}\n`;
    const append = (file, text) => writeFileSync(file, text, { flag: 'a' });
    append(files[0], `${number}\n`);
    append(files[1], line({ ...metricsOf(step + 1, number, settings), ...clock(performance.now() - begin) }));
    append(files[2], line(sampleOf(step + 1, number, settings)));
    progress(step + 1, settings.count, `number ${number}`);
    if ((step + 1) % 7 === 0 || signal.aborted) save(step + 1);
    if (signal.aborted) throw new MinkeError('aborted', `stopped after step ${step + 1}`);
  }
}

function metricsOf(step, number, { count, max }) {
  const reward = (number / max) * 0.3 + (0.7 * step) / count;
  return {
    global_step: step,
    reward,
    'rewards/accuracy/mean': reward * 0.9,
    'completions/mean_length': 20 + step,
    kl: 0.01 * number,
    entropy: 2 - (1.5 * step) / count,
    loss: 1 / step,
    max_vio: 0.2 + 0.01 * number,
    dead_experts: 0,
  };
}

/** Wall-clock figures, as the trainers log them. */
function clock(ms) {
  return {
    step_time: ms / 1000,
    'time/sampling': 0.6,
    'time/update': 0.3,
    'throughput/sampled_tokens_per_second': 10_000 / ms,
    'throughput/trained_tokens_per_second': 20_000 / ms,
  };
}

function sampleOf(step, number, { max }) {
  const right = number / max > 0.5 ? 1 : 0;
  return {
    global_step: step,
    prompt: `What is ${number} + 1? <b>&`,
    completion: `${number} and one more\n</think>\n${number + 1}<img src=x onerror="document.title=1">`,
    rewards: { accuracy: right, format: 1, helpful: null },
    reward: right + 0.5,
    advantage: number / max - 0.5,
    finish: right ? 'stop' : 'length',
    length: 20 + number,
  };
}

async function square({ folder, settings, input }) {
  const numbers = readFileSync(join(input('numbers'), 'numbers.txt'), 'utf8')
    .trim()
    .split('\n')
    .map(Number);
  const squares = numbers.map((number) => (number * number) % settings.modulus);
  writeFileSync(join(folder, 'squares.txt'), squares.join('\n'));
}

async function total({ folder, input, time }) {
  const squares = readFileSync(join(input('squares'), 'squares.txt'), 'utf8')
    .split('\n')
    .map(Number);
  const mean = squares.reduce((sum, value) => sum + value, 0) / squares.length / 100;
  const row = (metric, value) => ({
    metric,
    value,
    low: value - 0.05,
    high: value + 0.05,
    n: 2000,
    seeds: [0],
  });
  const rows = [row('pass@1', mean), row('greedy', mean + 0.1), row('pass@1/sums', mean - 0.1)];
  await time('evaluation', async () => {
    writeFileSync(join(folder, 'evaluation.json'), JSON.stringify({ stage: 'total', rows }));
  });
}

async function apart({ folder }) {
  writeFileSync(join(folder, 'apart.txt'), 'nothing to do with the rest\n');
}
