// `trainGrpo` with a critic (PPO), and with greedy baselines (ReMax).
import { describe, expect, it } from 'vitest';
import { type LocalCritic, perCompletion, type RlConfig, trainGrpo } from '../index.ts';
import type { SampleRequest, TrainingSequence } from '../interfaces.ts';
import type { ValueLearner } from '../score-learner.ts';
import { bandit, banditConfig, ppoConfig, right, runBandit } from '../testing/bandit.ts';
import { read, testBackend, testFolders, weightsOf } from '../testing/small-model.ts';
import type { GrpoOptions } from './grpo-options.ts';
import { withoutClock } from './step-clock.ts';

const backend = await testBackend({ threads: 1 });
const newFolder = testFolders();
const run = (changes: Partial<GrpoOptions> = {}) =>
  runBandit(backend, changes.folder ?? newFolder(), { config: ppoConfig, ...changes });
const withCritic = (changes: Partial<NonNullable<RlConfig['critic']>>): RlConfig => ({
  ...ppoConfig,
  critic: { ...(ppoConfig.critic as NonNullable<RlConfig['critic']>), ...changes },
});
const criticOf = async (critic: LocalCritic) =>
  (await Promise.all([...critic.parameters().values()].map((p) => p.read()))).flatMap((p) => Array.from(p));
const largest = (a: readonly number[], b: readonly number[]) =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] as number))), 0);

describe('trainGrpo with a critic', () => {
  it('learns a bandit from one sample a prompt, while the critic learns what to expect', async () => {
    // With a rate that falls: at a constant one the end depends on the last bits of the backend's kernels.
    const schedule = { shape: 'linear', warmupSteps: 2, finalFraction: 0.05, decayFraction: 0 } as const;
    const objective = { ...ppoConfig.objective, entropyCoefficient: 0.1 };
    const { lines } = await run({
      steps: 240,
      config: { ...ppoConfig, objective, schedule, learningRate: 5e-3 },
    });
    expect(lines[0]?.reward).toBeLessThan(0.1);
    expect(lines.at(-1)?.reward).toBeGreaterThan(0.9);
    const column = (name: string) => lines.map((line) => line[name] as number);
    expect(Math.max(...column('critic/vf_explained_var'))).toBeGreaterThan(0.4);
    expect(column('critic/values/mean').at(-1)).toBeGreaterThan(0.85);
    expect(column('rollout/logprob_diff_max').filter((gap) => gap > 0)).toEqual([]);
  });

  it('takes the first step of REINFORCE, as a new critic expects nothing', async () => {
    const config = { ...ppoConfig, minibatches: 1 };
    const ppo = await run({ config, steps: 1 });
    const advantage = { name: 'reinforce++', gamma: 1 } as const;
    const plain = await run({ config: { ...config, advantage, critic: null }, steps: 1 });
    expect(ppo.lines[0]).toMatchObject({
      'critic/values/min': 0,
      'critic/values/max': 0,
      'critic/vpred_mean': 0,
      'ratio/max': 1,
      loss: plain.lines[0]?.loss,
    });
    expect(await weightsOf(ppo.model)).toEqual(await weightsOf(plain.model));
    expect(plain.lines[0]).not.toHaveProperty('critic/vf_loss');
  });

  it('has half the mean squared error of its values as its loss, and whitened advantages', async () => {
    const config = { ...withCritic({ epsilon: null }), minibatches: 1, rewardBeta: 0 };
    const { lines } = await run({ config, steps: 1 });
    // Without KL and discount every return of a completion is its reward, here 0 or 1.
    const share = lines[0]?.['critic/returns/mean'] as number;
    expect(lines[0]?.['critic/vf_loss']).toBeCloseTo(share / 2, 6);
    expect(lines[0]?.['critic/advantages/mean']).toBeCloseTo(0, 12);
    expect(lines[0]?.['critic/advantages/max']).toBeCloseTo((1 - share) / Math.sqrt(share * (1 - share)), 1);
  });

  it('puts the KL to the reference into the reward of every token', async () => {
    const parts = await bandit(backend);
    const seen: TrainingSequence[] = [];
    const critic: ValueLearner = {
      values: (sequences) => parts.critic.values(sequences),
      forwardBackward: (sequences, loss, totals) => {
        seen.push(...sequences);
        return parts.critic.forwardBackward(sequences, loss, totals);
      },
      optimStep: (options) => parts.critic.optimStep(options),
      saveState: (folder) => parts.critic.saveState(folder),
      loadState: (folder) => parts.critic.loadState(folder),
    };
    const config = { ...ppoConfig, rewardBeta: 0.5, minibatches: 1 };
    const same = { rewards: [{ name: 'same', reward: perCompletion(() => 2) }] };
    await trainGrpo({ ...parts, ...same, critic, config, steps: 3, folder: newFolder() });
    const kl = ({ samplingLogProbs: l = [], refLogProbs: ref = [] }: TrainingSequence) =>
      l.map((value, t) => value - (ref[t] as number));
    expect(
      seen
        .slice(0, 32)
        .flatMap(kl)
        .every((k) => k === 0),
    ).toBe(true);
    expect(
      seen
        .slice(64)
        .flatMap(kl)
        .some((k) => k > 0.01),
    ).toBe(true);
    for (const sequence of seen) {
      const penalties = kl(sequence);
      for (const [t, value] of (sequence.returns ?? []).entries())
        expect(value).toBeCloseTo(2 - 0.5 * penalties.slice(t).reduce((a, b) => a + b), 6);
    }
  });

  it('keeps values and returns of the rollout for all its updates, clipped around them', async () => {
    const config = { ...withCritic({ epsilon: 1e-3, learningRate: 3e-2 }), innerEpochs: 2 };
    const { lines } = await run({ config, steps: 4 });
    const same = (name: string) => new Set(lines.map((line) => line[name])).size === 1;
    expect(['critic/values/mean', 'critic/returns/mean', 'critic/advantages/max'].every(same)).toBe(true);
    expect(lines.map((line) => line['critic/vpred_mean'] === 0)).toEqual([true, false, false, false]);
    expect(lines[0]?.['critic/vf_clipfrac']).toBe(0);
    expect(lines[3]?.['critic/vf_clipfrac']).toBeGreaterThan(0);
  });

  it('lets the policy wait while the critic warms up, for whole rollouts, and its schedule too', async () => {
    const { model } = await bandit(backend);
    const before = await weightsOf(model);
    const config = {
      ...withCritic({ warmupSteps: 3 }),
      schedule: { shape: 'constant' as const, warmupSteps: 2, finalFraction: 1, decayFraction: 0 },
    };
    const updated: boolean[] = [];
    const rates: number[][] = [];
    const parts = await bandit(backend);
    await trainGrpo({
      ...{ ...parts, config, steps: 6, folder: newFolder() },
      checkpointEvery: 1,
      onStep: (line) => {
        updated.push('loss' in line);
        rates.push([
          line.learning_rate as number,
          line['critic/lr'] as number,
          line['policy/version'] as number,
        ]);
      },
    });
    expect(updated).toEqual([false, false, false, false, true, true]);
    expect(rates).toEqual([
      [0, 5e-3, 0],
      [0, 1e-2, 0],
      [0, 1e-2, 0],
      [0, 1e-2, 0],
      [5e-3, 1e-2, 0],
      [1e-2, 1e-2, 0],
    ]);
    expect(await weightsOf(parts.model)).not.toEqual(before);
  });

  it('gives the same updates however the step is split into micro-batches', async () => {
    const config = { ...ppoConfig, minibatches: 1 };
    const whole = await run({ config, steps: 1 });
    const split = await run({ config: { ...config, tokensPerMicroBatch: 17 }, steps: 1 });
    expect(largest(await weightsOf(whole.model), await weightsOf(split.model))).toBeLessThan(2e-5);
    expect(largest(await criticOf(whole.critic), await criticOf(split.critic))).toBeLessThan(2e-5);
  });

  it('leaves completions without a reward out of the values that are learnt', async () => {
    const some = perCompletion(({ prompt }) => (Number(prompt) % 2 === 0 ? null : 1));
    const config = { ...ppoConfig, minibatches: 1, rewardBeta: 0 };
    const { lines, folder } = await run({ config, rewards: [{ name: 'some', reward: some }], steps: 1 });
    expect(lines[0]).toMatchObject({ 'critic/returns/min': 1, 'critic/returns/max': 1, reward: 1 });
    const samples = read(folder, 'samples.jsonl').trimEnd().split('\n');
    const advantages = samples.map((line) => (JSON.parse(line) as { advantage: number }).advantage);
    expect(advantages.every((a) => a === 0)).toBe(true);
  });

  it('stops when told to, and continues to the same lines, policy and critic', async () => {
    const config = withCritic({ warmupSteps: 2 });
    const whole = await run({ config, steps: 8 });
    const folder = newFolder();
    const stop = new AbortController();
    const onStep = ({ global_step }: { global_step: number }) => {
      if (global_step === 4) stop.abort();
    };
    await expect(run({ config, steps: 8, folder, signal: stop.signal, onStep })).rejects.toThrow(
      'stopped after step 4',
    );
    const rest = await run({ config, steps: 8, folder });
    expect(rest.lines.map(withoutClock)).toEqual(whole.lines.slice(4).map(withoutClock));
    expect(await weightsOf(rest.model)).toEqual(await weightsOf(whole.model));
    expect(await criticOf(rest.critic)).toEqual(await criticOf(whole.critic));
    const other = { config: withCritic({ warmupSteps: 4 }), steps: 8, folder };
    await expect(run(other)).rejects.toThrow('holds a run with other settings');
  });

  it('stops on a critic whose numbers are no longer finite', async () => {
    const config = withCritic({ learningRate: 1e30 });
    await expect(run({ config, steps: 20, checkpointEvery: 2 })).rejects.toThrow(
      /became (NaN|Infinity).*begin another run/,
    );
  });

  it('names what a configuration lacks', async () => {
    await expect(run({ critic: undefined })).rejects.toThrow(
      /a critic, as the advantage is gae.*critic: true/,
    );
    await expect(run({ config: withCritic({ warmupSteps: 3 }), steps: 4 })).rejects.toThrow(
      /steps beyond the critic's warm-up of 4.*got 4/,
    );
    await expect(run({ config: { ...ppoConfig, maxRefills: 2 } })).rejects.toThrow(/maxRefills of 0/);
    await expect(run({ config: withCritic({ epsilon: -1, learningRate: 0 }) })).rejects.toThrow(
      /critic\.learningRate above 0, got 0.*critic\.epsilon of at least 0, or null, got -1/,
    );
    await expect(run({ config: { ...banditConfig, critic: ppoConfig.critic } })).rejects.toThrow(
      /a critic with gae and none without/,
    );
  });
});

describe('trainGrpo with greedy baselines', () => {
  const config: RlConfig = {
    ...banditConfig,
    advantage: { name: 'remax' },
    objective: { ...banditConfig.objective, entropyCoefficient: 0.01 },
    groupSize: 16,
  };

  it('takes one greedy sample of each prompt, whose reward is the baseline', async () => {
    const parts = await bandit(backend);
    const asked: SampleRequest[] = [];
    const sampler = {
      sample: (request: SampleRequest) => {
        asked.push(request);
        return parts.sampler.sample(request);
      },
      update: (policy: Parameters<typeof parts.sampler.update>[0]) => parts.sampler.update(policy),
    };
    const { lines, folder } = await run({ config, sampler, steps: 1, samplesPerRollout: 128 });
    expect(asked.map(({ samplesPerPrompt, temperature }) => [samplesPerPrompt, temperature])).toEqual([
      [16, 1],
      [1, 0],
    ]);
    const samples = read(folder, 'samples.jsonl')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const greedy = (await parts.sampler.sample(asked[1] as SampleRequest)).map(({ tokens }, p) =>
      tokens[0] === Number(samples[16 * p].prompt) + 8 ? 1 : 0,
    );
    expect(lines[0]?.greedy_reward).toBe(greedy.reduce<number>((a, b) => a + b, 0) / 8);
    for (const [i, sample] of samples.entries())
      expect(sample.advantage).toBe(sample.reward - (greedy[Math.floor(i / 16)] as number));
  });

  it('learns the bandit', async () => {
    const { lines } = await run({ config, rewards: [{ name: 'accuracy', reward: right }], steps: 50 });
    expect(lines[0]?.reward).toBeLessThan(0.3);
    expect(lines.at(-1)?.reward).toBeGreaterThan(0.9);
    expect(lines.at(-1)?.greedy_reward).toBeGreaterThan(0.9);
  });
});
