import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { saveModel } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import { ExportingLearner, FolderSampler, type Sampler } from '../index.ts';
import type { RlConfig } from '../objectives/index.ts';
import { bandit, banditConfig, ppoConfig } from '../testing/bandit.ts';
import { testBackend, testFolders, weightsOf } from '../testing/small-model.ts';
import { trainGrpo } from './grpo.ts';
import type { GrpoMetrics, GrpoOptions } from './grpo-options.ts';
import { RolloutBuffer } from './rollout-buffer.ts';
import { withoutClock } from './step-clock.ts';

const backend = await testBackend();
const newFolder = testFolders();
const ppoCritic = ppoConfig.critic as NonNullable<RlConfig['critic']>;

interface Changes extends Partial<GrpoOptions> {
  /** A sampler of its own around the one that reads folders. */
  readonly around?: (sampler: Sampler) => Sampler;
}

async function run({ around = (sampler) => sampler, ...changes }: Changes = {}) {
  const parts = await bandit(backend);
  const lines: GrpoMetrics[] = [];
  const folder = changes.folder ?? newFolder();
  const write = (to: string) => saveModel(parts.model, to, { dtype: 'f32' });
  const learner = new ExportingLearner(parts.learner, { folder: join(folder, 'weights'), write, keep: 4 });
  const sampler = new FolderSampler(backend, { contextLength: 16, maxSequences: 128 });
  try {
    await trainGrpo({
      ...{ ...parts, learner, sampler: around(sampler), steps: 5, folder, maxStaleness: 1 },
      ...{
        ...changes,
        onStep: (metrics: GrpoMetrics) => {
          lines.push(metrics);
          changes.onStep?.(metrics);
        },
      },
    });
  } finally {
    await sampler.dispose();
  }
  return { folder, lines, weights: await weightsOf(parts.model) };
}

const journalOf = (folder: string): Record<string, unknown>[] =>
  readFileSync(join(folder, 'journal.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

/** All weights of a run and its lines, wall-clock figures apart. */
const comparable = ({ lines, weights }: Awaited<ReturnType<typeof run>>) => ({
  lines: lines.map(withoutClock),
  weights,
});

describe('rollouts ahead of training', () => {
  it('are as old as allowed and no older, and say so', async () => {
    const two = { ...banditConfig, minibatches: 2, promptsPerStep: 4 };
    for (const [config, maxStaleness, lags, versions] of [
      [banditConfig, 1, [0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 2, 3, 4, 5, 6]],
      [banditConfig, 3, [0, 1, 2, 3, 3, 3, 3, 3], [0, 0, 0, 0, 1, 2, 3, 4]],
      [two, 3, [0, 0, 2, 2, 3, 3, 3, 3], [0, 0, 0, 0, 1, 1, 3, 3]],
    ] as const) {
      const { lines, folder } = await run({ config, maxStaleness, steps: 8 });
      expect(lines.map((line) => line['rollout/lag'])).toEqual(lags);
      expect(lines.map((line) => line['policy/version'])).toEqual(versions);
      expect(lines[0]?.['rollout/logprob_diff_max']).toBe(0);
      expect(lines.at(-1)?.['sampling/sampling_logp_difference/max']).toBeGreaterThan(0);
      const journal = journalOf(folder);
      const ids = journal.flatMap(({ used, left_out: left }) => [
        ...(used as string[]),
        ...(left as string[]),
      ]);
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids).toHaveLength(journal.length * 64);
      expect(readdirSync(join(folder, 'rollouts'))).toEqual([]);
    }
  });

  it('are sampled while others are learnt from', async () => {
    let steps = 0;
    let release = () => {};
    const stepped = new Promise<void>((resolve) => {
      release = resolve;
    });
    // The second rollout ends only once an optimiser step has been taken, which waits for nothing but the first.
    let asked = 0;
    const around = (inner: Sampler): Sampler => ({
      update: (policy) => inner.update(policy),
      async sample(request, signal) {
        const samples = await inner.sample(request, signal);
        if (++asked === 2) await stepped;
        return samples;
      },
    });
    const onStep = () => {
      steps++;
      release();
    };
    await run({ around, onStep, steps: 3 });
    expect([steps, asked]).toEqual([3, 3]);
  });

  it('teach the same task, and the same however fast the sampler is', async () => {
    const objective = { ...banditConfig.objective, entropyCoefficient: 0.05 };
    const config = { ...banditConfig, groupSize: 16, objective };
    const around = (inner: Sampler): Sampler => ({
      update: (policy) => inner.update(policy),
      async sample(request, signal) {
        await new Promise((resolve) => setTimeout(resolve, 25 * (request.seed % 3)));
        return inner.sample(request, signal);
      },
    });
    const long = await run({ config, maxStaleness: 2, steps: 70 });
    expect(long.lines.at(-1)?.reward).toBeGreaterThan(0.9);
    expect(comparable(await run({ maxStaleness: 2, around }))).toEqual(
      comparable(await run({ maxStaleness: 2 })),
    );
  });

  it('are weighted by truncated importance sampling where the configuration names no correction', async () => {
    const correction = { mode: 'truncate', level: 'token', high: 2 } as const;
    const config = { ...banditConfig, objective: { ...banditConfig.objective, correction } };
    const own = await run();
    expect((await run({ config })).weights).toEqual(own.weights);
    const other = {
      ...config,
      objective: { ...config.objective, correction: { ...correction, high: 1.001 } },
    };
    expect((await run({ config: other })).weights).not.toEqual(own.weights);
  });

  it('go on while only the critic learns, by the one policy there is', async () => {
    const config: RlConfig = { ...ppoConfig, critic: { ...ppoCritic, warmupSteps: 6 } };
    const settings = { config, maxStaleness: 2, steps: 12 };
    const { lines, folder, weights } = await run(settings);
    expect(lines.map((line) => line['policy/version'])).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2]);
    expect(lines.map((line) => 'loss' in line)).toEqual(Array.from({ length: 12 }, (_, i) => i >= 6));
    expect(lines[6]?.['sampling/sampling_logp_difference/max']).toBe(0);
    expect(lines[10]?.['sampling/sampling_logp_difference/max']).toBeGreaterThan(0);
    expect(journalOf(folder).map(({ lag }) => lag)).toEqual([0, 2, 2, 2, 2, 2]);
    expect((await run(settings)).weights).toEqual(weights);
  });

  it('survive a sampler that fails and a signal: the rest is as if nothing had happened', async () => {
    const settings = { steps: 7, maxStaleness: 2, checkpointEvery: 2 };
    const whole = await run(settings);
    for (const fails of [1, 3, 5]) {
      const folder = newFolder();
      let asked = 0;
      const around = (inner: Sampler): Sampler => ({
        update: (policy) => inner.update(policy),
        async sample(request, signal) {
          if (asked++ === fails) throw new Error('the server is gone');
          return inner.sample(request, signal);
        },
      });
      await expect(run({ ...settings, folder, around })).rejects.toThrow('the server is gone');
      const rest = await run({ ...settings, folder });
      expect(rest.weights).toEqual(whole.weights);
      expect(journalOf(folder)).toEqual(journalOf(whole.folder));
    }
    const folder = newFolder();
    const stop = new AbortController();
    const onStep = ({ global_step }: GrpoMetrics) => {
      if (global_step === 3) stop.abort();
    };
    await expect(run({ ...settings, folder, onStep, signal: stop.signal })).rejects.toThrow(
      'stopped after step 3',
    );
    const rest = await run({ ...settings, folder });
    expect(rest.lines.map(withoutClock)).toEqual(whole.lines.slice(3).map(withoutClock));
    expect(rest.weights).toEqual(whole.weights);
    expect(journalOf(folder)).toEqual(journalOf(whole.folder));
  });

  it('need policies in folders, and are not there in a synchronous run', async () => {
    const { learner, sampler } = await bandit(backend);
    await expect(run({ learner, sampler })).rejects.toThrow(/wrap the learner in an ExportingLearner/);
    await expect(run({ maxStaleness: -1 })).rejects.toThrow(/maxStaleness a whole number/);
    const none = await run({ maxStaleness: 0 });
    expect(none.lines.map((line) => line['rollout/lag'])).toEqual([0, 0, 0, 0, 0]);
    expect(none.lines.map((line) => line['rollout/logprob_diff_max'])).toEqual([0, 0, 0, 0, 0]);
    expect(['journal.jsonl', 'rollouts'].map((name) => existsSync(join(none.folder, name)))).toEqual([
      false,
      false,
    ]);
    const { steps } = await bandit(backend).then(async (parts) => ({ steps: await plain(parts) }));
    expect(steps).toEqual(none.weights);
  });
});

/** The same run with sampler and learner on one model. */
async function plain(parts: Awaited<ReturnType<typeof bandit>>): Promise<number[]> {
  await trainGrpo({ ...parts, steps: 5, folder: newFolder() });
  return weightsOf(parts.model);
}

it('a buffer keeps what follows without a gap, of the same run', () => {
  const folder = newFolder();
  const rollout = (number: number) => ({
    ...{ number, source: { at: number }, lag: 1, samplingMs: 2 },
    rolled: { groups: [], sampled: [], refills: 0 },
  });
  const buffer = new RolloutBuffer(folder, { seed: 1 });
  for (const number of [2, 3, 4, 6]) buffer.put(rollout(number));
  expect(buffer.from(3).map(({ number }) => number)).toEqual([3, 4]);
  expect(readdirSync(folder)).toHaveLength(2);
  expect(buffer.from(3)).toEqual([rollout(3), rollout(4)]);
  buffer.removeBefore(4);
  expect(readdirSync(folder)).toHaveLength(1);
  expect(new RolloutBuffer(folder, { seed: 2 }).from(4)).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
});
