import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeepSeekModel } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import { perCompletion, type RlConfig } from '../index.ts';
import { bandit, banditConfig, ppoConfig, right, runBandit } from '../testing/bandit.ts';
import { asExact } from '../testing/exact-sampler.ts';
import { testBackend, testFolders } from '../testing/small-model.ts';
import { trainGrpo } from './grpo.ts';
import type { GrpoMetrics, GrpoOptions } from './grpo-options.ts';
import { withoutClock } from './step-clock.ts';

const backend = await testBackend();
const newFolder = testFolders();

const withBeta = (config: RlConfig, beta: number): RlConfig => ({
  ...config,
  objective: { ...config.objective, beta },
});
const weights = async (model: DeepSeekModel): Promise<number[]> =>
  (await Promise.all([...model.parameters().values()].map((p) => p.read()))).flatMap((p) => [...p]);

const run = (changes: Partial<GrpoOptions> = {}) =>
  runBandit(backend, changes.folder ?? newFolder(), changes);

describe('trainGrpo', () => {
  it('learns a bandit: the reward rises from chance to its maximum', async () => {
    // With a rate that falls: at a constant one the end depends on the last bits of the backend's kernels.
    const schedule = { shape: 'linear', warmupSteps: 2, finalFraction: 0.05, decayFraction: 0 } as const;
    const objective = { ...banditConfig.objective, entropyCoefficient: 0.05 };
    const config = { ...banditConfig, groupSize: 16, objective, schedule };
    const { lines, folder } = await run({ steps: 120, config });
    expect(lines[0]?.reward).toBeLessThan(0.3);
    expect(lines.at(-1)?.reward).toBeGreaterThan(0.95);
    const samples = readFileSync(join(folder, 'samples.jsonl'), 'utf8').trimEnd().split('\n');
    expect(samples).toHaveLength(120 * 4);
    expect(JSON.parse(samples.at(-1) as string)).toMatchObject({
      global_step: 120,
      rewards: { accuracy: 1 },
      reward: 1,
      policy_version: 119,
    });
  });

  it('is on-policy in the first update: ratio 1, nothing clipped, no KL to an equal reference', async () => {
    const { lines } = await run({ config: withBeta(banditConfig, 0.1), steps: 1 });
    expect(lines[0]).toMatchObject({
      'ratio/min': 1,
      'ratio/max': 1,
      'clip_ratio/region_mean': 0,
      approx_kl: 0,
      kl: 0,
      'rollout/logprob_diff_max': 0,
      'policy/version': 0,
    });
    expect(lines[0]?.loss).toBeCloseTo(0, 5);
  });

  it('is off-policy after it: later mini-batches and epochs keep the log-probabilities of the old policy', async () => {
    const config = { ...banditConfig, minibatches: 2, innerEpochs: 2, promptsPerStep: 4 };
    const { lines } = await run({ config, steps: 4 });
    expect(lines.map((line) => line['ratio/max'] === 1)).toEqual([true, false, false, false]);
    for (const line of lines) expect(line['sampling/sampling_logp_difference/max']).toBe(0);
    expect(lines.map((line) => line['policy/version'])).toEqual([0, 0, 0, 0]);
  });

  it('counts the tokens it sampled, computed without gradient and trained on', async () => {
    const config = { ...withBeta(banditConfig, 0.1), minibatches: 2, innerEpochs: 2, promptsPerStep: 4 };
    const { lines } = await run({ config, steps: 8 });
    const counts = (name: string) => lines.map((line) => line[`num_${name}_tokens`] as number);
    const [sampled, forwarded, trained] = [counts('sampled'), counts('forwarded'), counts('trained')];
    // Two rollouts of eight prompts of two tokens, eight completions each, four updates a rollout.
    expect(sampled[0]).toBe(sampled[3]);
    expect(sampled[7]).toBeGreaterThan(sampled[3] as number);
    const [first, second] = [sampled[3], (sampled[7] as number) - (sampled[3] as number)] as [number, number];
    const sequences = (completions: number) => completions + 2 * 64;
    expect(trained[3]).toBe(2 * sequences(first));
    expect(trained[7]).toBe(2 * (sequences(first) + sequences(second)));
    // The prompts once, the reference over everything, old log-probabilities from the second mini-batch on.
    expect(forwarded[3]).toBeGreaterThan(16 + sequences(first));
    expect(forwarded[3]).toBeLessThan(16 + 2 * sequences(first));
  });

  it.each([
    ['two mini-batches', { ...banditConfig, minibatches: 2, innerEpochs: 2, promptsPerStep: 4 }],
    ['KL in the reward', { ...ppoConfig, minibatches: 2, promptsPerStep: 4, rewardBeta: 0.1 }],
  ])(
    'takes old log-probabilities from an exact sampler: same bits, less computed (%s)',
    async (_, config) => {
      const outcome = async (exact: boolean) => {
        const parts = await bandit(backend);
        const sampler = exact ? asExact(parts.sampler) : parts.sampler;
        const lines: GrpoMetrics[] = [];
        const onStep = (line: GrpoMetrics) => lines.push(line);
        await trainGrpo({ ...parts, sampler, config, steps: 6, folder: newFolder(), onStep });
        const forwarded = lines.at(-1)?.num_forwarded_tokens as number;
        const others = lines.map(({ num_forwarded_tokens: _, ...line }) => withoutClock(line));
        return { forwarded, others, weights: await weights(parts.model) };
      };
      const [own, sampled] = [await outcome(false), await outcome(true)];
      expect(sampled.weights).toEqual(own.weights);
      expect(sampled.others).toEqual(own.others);
      expect(sampled.forwarded).toBeLessThan(own.forwarded);
    },
  );

  it('ends where its metrics say enough, and stays ended when it is started again', async () => {
    const stopWhen = (line: GrpoMetrics) => (line.num_trained_tokens as number) >= 500;
    const { folder, lines } = await run({ steps: 50, stopWhen });
    expect(lines.length).toBeLessThan(20);
    expect(lines.at(-1)?.num_trained_tokens).toBeGreaterThanOrEqual(500);
    expect(lines.at(-2)?.num_trained_tokens).toBeLessThan(500);
    const again = await run({ folder, steps: 50, stopWhen });
    expect(again.lines).toEqual([]);
    expect(again.last).toEqual(lines.at(-1));
    const longer = await run({ folder, steps: 50, stopWhen: (line) => line.global_step >= lines.length + 2 });
    expect(longer.lines.map((line) => line.global_step)).toEqual([lines.length + 1, lines.length + 2]);
  });

  it('gives the same update however the step is split into micro-batches', async () => {
    const whole = await weights((await run({ steps: 1 })).model);
    const split = await weights(
      (await run({ steps: 1, config: { ...banditConfig, tokensPerMicroBatch: 17 } })).model,
    );
    const largest = whole.reduce((most, w, i) => Math.max(most, Math.abs(w - (split[i] as number))), 0);
    expect(largest).toBeLessThan(2e-5);
  });

  it('makes the reference the policy of now: KL is 0 in the step after', async () => {
    const config = { ...withBeta(banditConfig, 0.01), referenceEvery: 3 };
    const { lines } = await run({ config, steps: 5 });
    expect(lines.map((line) => line.kl === 0)).toEqual([true, false, false, true, false]);
  });

  it('gives groups of equal rewards an advantage of exactly 0, and says how many there are', async () => {
    const { lines, folder } = await run({
      rewards: [{ name: 'same', reward: perCompletion(() => 0.1) }],
      config: banditConfig,
      steps: 1,
    });
    expect(lines[0]).toMatchObject({ frac_reward_zero_std: 1, loss: 0, reward_std: 0 });
    const [line] = readFileSync(join(folder, 'samples.jsonl'), 'utf8').split('\n');
    expect(JSON.parse(line as string).advantage).toBe(0);
  });

  it('leaves completions without a reward out of the batch, and refuses a step without any', async () => {
    const some = perCompletion(({ prompt, ...rest }) =>
      Number(prompt) % 2 === 0 ? null : rest.completion.length,
    );
    const { lines } = await run({ rewards: [{ name: 'some', reward: some }], steps: 1 });
    expect(lines[0]?.['rewards/some/null_rate']).toBe(0.5);
    const none = [{ name: 'none', reward: perCompletion(() => null) }];
    await expect(run({ rewards: none })).rejects.toThrow(/64 of which 64 have no reward/);
  });

  it('samples new prompts in place of groups that teach nothing', async () => {
    const { lines } = await run({ config: { ...banditConfig, maxRefills: 20 }, steps: 3 });
    const without = await run({ steps: 1 });
    expect(without.lines[0]?.frac_reward_zero_std).toBeGreaterThan(0);
    for (const line of lines) expect(line['dynamic_sampling/refills']).toBeGreaterThan(0);
  });

  it('takes rewards that change with the step, and asks for them before each rollout', async () => {
    const asked: number[] = [];
    const rewards = (step: number) => {
      asked.push(step);
      return [{ name: step < 2 ? 'early' : 'late', reward: right }];
    };
    const { lines } = await run({ rewards, steps: 3 });
    expect(asked).toEqual([0, 1, 2]);
    expect(lines[2]).toHaveProperty('rewards/late/mean');
  });

  it('stops when told to, with a checkpoint, and continues to the same lines', async () => {
    const whole = await run({ steps: 5, config: withBeta(banditConfig, 0.05) });
    const folder = newFolder();
    const stop = new AbortController();
    const changes = { steps: 5, folder, config: withBeta(banditConfig, 0.05) };
    const onStep = ({ global_step }: GrpoMetrics) => {
      if (global_step === 3) stop.abort();
    };
    await expect(run({ ...changes, signal: stop.signal, onStep })).rejects.toThrow('stopped after step 3');
    const rest = await run(changes);
    expect(rest.lines.map(withoutClock)).toEqual(whole.lines.slice(3).map(withoutClock));
    expect(await weights(rest.model)).toEqual(await weights(whole.model));
    await expect(run({ ...changes, seed: 4 })).rejects.toThrow('holds a run with other settings');
  });

  it('stops on numbers that are no longer finite, naming the last good checkpoint', async () => {
    const config = {
      ...banditConfig,
      learningRate: 1e30,
      schedule: { ...banditConfig.schedule, warmupSteps: 0 },
    };
    await expect(run({ config, steps: 20, checkpointEvery: 1 })).rejects.toThrow(
      /became NaN.*last good checkpoint|became (NaN|Infinity).*step \d/,
    );
  });

  it('names every absurd setting', async () => {
    const config = withBeta(banditConfig, 0.1);
    await expect(run({ config, steps: 0, reference: undefined, checkpointEvery: 1.5 })).rejects.toThrow(
      /steps.*checkpointEvery.*a reference/,
    );
  });
});
