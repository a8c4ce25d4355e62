import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auto } from '@minke/gpu-backends';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LocalCritic, presets, type RlConfig } from '../index.ts';
import type { Sampler, TrainingSequence } from '../interfaces.ts';
import type { ValueLearner } from '../score-learner.ts';
import {
  calculatorConfig,
  calculatorEpisodes,
  calculatorPrompts,
  calculatorTask,
  decodePieces,
  encodePieces,
} from '../testing/calculator-task.ts';
import { asExact } from '../testing/exact-sampler.ts';
import { weightsOf } from '../testing/small-model.ts';
import { type Episode, type EpisodeSample, sampleEpisodes } from './episodes.ts';
import { trainGrpo } from './grpo.ts';
import type { GrpoMetrics, GrpoOptions } from './grpo-options.ts';

let root: string;
let backend: Awaited<ReturnType<typeof auto>>;
let started: Awaited<ReturnType<typeof calculatorTask>>;
let next = 0;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'minke-episodes-'));
  backend = await auto();
  started = await calculatorTask(backend, { coldStart: 150 });
});
afterAll(() => {
  backend.dispose();
  rmSync(root, { recursive: true, force: true });
});

/** A short run from the policy after the cold start; every line of its metrics. */
async function run(changes: Partial<GrpoOptions> = {}, adapt = (sampler: Sampler) => sampler) {
  const parts = await calculatorTask(backend);
  const sampler = adapt(parts.sampler);
  await parts.learner.copyFrom(started.model);
  await parts.reference.refresh();
  const lines: GrpoMetrics[] = [];
  const folder = join(root, String(next++));
  const onStep = (metrics: GrpoMetrics) => lines.push(metrics);
  await trainGrpo({ ...parts, sampler, steps: 1, folder, onStep, ...changes });
  const text = readFileSync(join(folder, 'samples.jsonl'), 'utf8').trimEnd();
  return {
    lines,
    samples: text.split('\n').map((line) => JSON.parse(line)),
    weights: await weightsOf(parts.model),
  };
}

const asEpisode = (episode: Episode): Episode => ({
  stop: episode.stop,
  step: (text) => episode.step(text),
  score: () => episode.score(),
});

async function sampled(
  changes: Partial<Parameters<typeof sampleEpisodes>[1]> = {},
  sampler: Sampler = started.sampler,
) {
  const source = calculatorPrompts(4);
  const prompts = Array.from({ length: 6 }, () => source.next());
  const request = {
    samplesPerPrompt: 8,
    maxNewTokens: 24,
    temperature: 1,
    topP: 1,
    topK: 0,
    stopTokenIds: [0],
    seed: 5,
  };
  const options = {
    sampler,
    environment: calculatorEpisodes(),
    encode: encodePieces,
    decode: decodePieces,
  };
  const episodes = await sampleEpisodes(prompts, { ...request, ...changes }, options);
  const sequences = episodes.map(({ sample }): TrainingSequence => {
    const before = prompts[sample.prompt]?.tokens as readonly number[];
    return {
      tokens: [...before, ...sample.tokens],
      completionStart: before.length,
      mask: sample.mask as readonly number[],
    };
  });
  return { episodes, sequences };
}

describe('sampleEpisodes', () => {
  it('puts the answers of the environment between the turns, as ids of their own', async () => {
    const { episodes } = await sampled();
    const asked = episodes.filter(({ outcome }) => outcome.calls > 0);
    expect(asked.length).toBeGreaterThan(5);
    for (const { sample, outcome } of episodes) {
      expect(sample.tokens.length).toBeLessThanOrEqual(24);
      expect(sample.logProbs).toHaveLength(sample.tokens.length);
      expect(sample.mask).toHaveLength(sample.tokens.length);
      const text = decodePieces(sample.tokens);
      expect(outcome.parts.map((part) => part.text).join('')).toBe(text);
      const theirs = sample.tokens.filter((_, t) => sample.mask?.[t] === 0);
      const replies = outcome.parts.filter(({ from }) => from === 'environment');
      expect(decodePieces(theirs)).toBe(replies.map((part) => part.text).join(''));
      for (const reply of replies) expect(reply.text).toMatch(/^<result>.*<\/result>$/);
      sample.logProbs.forEach((logProb, t) => {
        if (sample.mask?.[t] === 0) expect(logProb).toBe(0);
        else expect(logProb).toBeLessThan(0);
      });
    }
  });

  it.each([1, 0.7])(
    'has the log-probabilities of the learner bit for bit at temperature %f',
    async (temperature) => {
      const { episodes, sequences } = await sampled({ temperature });
      const own = episodes.map(({ sample }) => sample.logProbs.filter((_, t) => sample.mask?.[t] === 1));
      expect(await started.learner.forward(sequences, { temperature })).toEqual(own);
    },
  );

  it('gives equal episodes to equal seeds, whatever else is sampled', async () => {
    expect((await sampled()).episodes).toEqual((await sampled()).episodes);
    expect((await sampled({ seed: 6 })).episodes).not.toEqual((await sampled()).episodes);
  });
});

describe('tokens of an environment', () => {
  it('carry no gradient: nothing that stands beside them changes a bit of the update', async () => {
    const { sequences, episodes } = await sampled();
    const counted = sequences.flatMap(({ mask }) => mask as number[]).filter(Boolean).length;
    const totals = { sequences: sequences.length, tokens: counted, maxCompletionLength: 24 };
    const objective = {
      ...calculatorConfig.objective,
      beta: 0.1,
      correction: { mode: 'truncate', level: 'token', high: 2 },
    } as const;
    const update = async (beside: number) => {
      const { learner, model } = await calculatorTask(backend);
      await learner.copyFrom(started.model);
      const batch = sequences.map((sequence, i) => {
        const { logProbs, mask = [] } = (episodes[i] as EpisodeSample).sample;
        const column = (value: (t: number) => number) =>
          mask.map((flag, t) => (flag === 0 ? beside : value(t)));
        return {
          ...sequence,
          advantages: column((t) => (i % 3) - 1 + t / 100),
          oldLogProbs: column((t) => (logProbs[t] as number) + 0.05),
          refLogProbs: column((t) => (logProbs[t] as number) - 0.1),
          samplingLogProbs: column((t) => logProbs[t] as number),
        };
      });
      const { loss } = await learner.forwardBackward(
        batch,
        { name: 'policy', objective, temperature: 1 },
        totals,
      );
      const { gradNorm } = await learner.optimStep({ learningRate: 1e-2 });
      return { loss, gradNorm, weights: await weightsOf(model) };
    };
    const zero = await update(0);
    expect(zero.gradNorm).toBeGreaterThan(0);
    for (const beside of [1e6, Number.NaN]) expect(await update(beside)).toEqual(zero);
  });

  it('do not count as length, in metrics and in the divisors of the loss', async () => {
    const { lines, samples } = await run({ samplesPerRollout: 64 });
    const lengths = samples.map(
      ({ parts }) =>
        parts.flatMap(({ from, text }: { from: string; text: string }) =>
          from === 'model' ? encodePieces(text) : [],
        ).length,
    );
    const ended = samples.map(({ finish, parts }) =>
      finish === 'stop' && parts.at(-1).from === 'model' ? 1 : 0,
    );
    expect(samples.map(({ length }) => length)).toEqual(lengths.map((n, i) => n + (ended[i] as number)));
    const mean = samples.reduce((sum, { length }) => sum + length, 0) / samples.length;
    expect(lines[0]?.['completions/mean_length']).toBeCloseTo(mean, 9);
    const config = (aggregation: 'grpo' | 'dapo') => ({
      ...calculatorConfig,
      objective: { ...calculatorConfig.objective, aggregation },
    });
    // On-policy the value of the loss is known: 0 by sequence, and by token the advantages weighted with lengths.
    expect((await run({ config: config('grpo') })).lines[0]?.loss).toBeCloseTo(0, 5);
    const byToken = samples.reduce((sum, { advantage, length }) => sum - advantage * length, 0);
    const tokens = samples.reduce((sum, { length }) => sum + length, 0);
    expect((await run({ config: config('dapo') })).lines[0]?.loss).toBeCloseTo(byToken / tokens, 5);
  });

  it('may stand in every kind of step: several mini-batches and epochs, a reference, KL in the reward', async () => {
    const changes = { minibatches: 2, innerEpochs: 2, promptsPerStep: 4, rewardBeta: 0.01 };
    const objective = { ...calculatorConfig.objective, beta: 0.05 };
    const config = { ...calculatorConfig, ...changes, objective };
    const { lines, weights } = await run({ config, steps: 4 });
    for (const line of lines) expect(line['sampling/sampling_logp_difference/max']).toBe(0);
    expect(lines[0]).toMatchObject({ kl: 0, 'ratio/max': 1, 'clip_ratio/region_mean': 0 });
    expect(lines[1]?.['ratio/max']).toBeGreaterThan(1);
    // Old log-probabilities of an exact sampler are those of the policy's tokens alone, too.
    expect((await run({ config, steps: 4 }, asExact)).weights).toEqual(weights);
  });
});

describe('the other estimators with a calculator', () => {
  it("values and returns of a critic are of the policy's tokens alone", async () => {
    const critic = await LocalCritic.of(started.model);
    const seen: TrainingSequence[] = [];
    const watched: ValueLearner = {
      values: (sequences) => critic.values(sequences),
      forwardBackward: (sequences, loss, totals) => {
        seen.push(...sequences);
        return critic.forwardBackward(sequences, loss, totals);
      },
      optimStep: (options) => critic.optimStep(options),
      saveState: (folder) => critic.saveState(folder),
      loadState: (folder) => critic.loadState(folder),
    };
    const config: RlConfig = {
      ...calculatorConfig,
      ...{ advantage: presets.ppo.advantage, groupSize: 1, promptsPerStep: 32, minibatches: 2 },
      critic: { learningRate: 1e-2, epsilon: 0.5, warmupSteps: 0 },
    };
    const { lines, samples } = await run({ config, critic: watched, steps: 4, samplesPerRollout: 64 });
    const masked = seen.filter(({ mask = [] }) => mask.includes(0));
    expect(masked.length).toBeGreaterThan(5);
    for (const [i, { mask = [], values = [], returns = [], advantages = [] }] of seen.entries()) {
      // Without discount and KL every return of a completion is its reward.
      const reward = samples[i].reward;
      for (const [t, flag] of mask.entries())
        if (flag === 0) expect([values[t], returns[t], advantages[t]]).toEqual([0, 0, 0]);
        else expect(returns[t]).toBeCloseTo(reward, 12);
    }
    // A new critic expects nothing; after two steps it does.
    expect(seen.slice(0, 64).flatMap(({ values = [] }) => values.filter((value) => value !== 0))).toEqual([]);
    const later = masked.filter((sequence) => seen.indexOf(sequence) >= 64);
    expect(later.length).toBeGreaterThan(2);
    for (const { mask = [], values = [] } of later)
      expect(values.map((value) => Number(value !== 0))).toEqual([...mask]);
    for (const line of lines) expect(line['sampling/sampling_logp_difference/max']).toBe(0);
    const tokens = samples.reduce((sum, { length }) => sum + length, 0);
    expect(lines.at(-1)?.num_sampled_tokens).toBe(tokens);
  });

  it('a greedy baseline has its own conversation, without log-probabilities', async () => {
    const { episodes } = await sampled({ samplesPerPrompt: 1, temperature: 0 });
    for (const { sample } of episodes) expect(sample.logProbs).toEqual([]);
    const config: RlConfig = { ...calculatorConfig, advantage: { name: 'remax' } };
    const { lines, samples } = await run({ config, samplesPerRollout: 64 });
    const baselines = Array.from({ length: 8 }, (_, p) => {
      const own = samples.slice(8 * p, 8 * p + 8);
      const first = own[0].reward - own[0].advantage;
      for (const { reward, advantage } of own) expect(reward - advantage).toBe(first);
      return first;
    });
    expect(lines[0]?.greedy_reward).toBe(baselines.reduce((a, b) => a + b) / 8);
    const tokens = samples.reduce((sum, { length }) => sum + length, 0);
    expect(lines[0]?.num_sampled_tokens).toBeGreaterThan(tokens);
    expect(lines[0]?.['rollout/logprob_diff_max']).toBe(0);
  });
});

describe('trainGrpo with a calculator', () => {
  it('learns to call it', async () => {
    const { lines } = await run({ steps: 14, config: { ...calculatorConfig, learningRate: 2e-3 } });
    expect(lines[0]?.['tools/call_frequency']).toBeLessThan(0.75);
    expect(lines.at(-1)?.['tools/call_frequency']).toBeGreaterThan(0.9);
    expect(lines.at(-1)?.['num_turns/mean']).toBeGreaterThan(1.9);
    const reward = (part: readonly GrpoMetrics[]) =>
      part.reduce((sum, line) => sum + (line.reward as number), 0) / part.length;
    expect(reward(lines.slice(-4))).toBeGreaterThan(reward(lines.slice(0, 2)) + 0.1);
    for (const line of lines) expect(line['rollout/logprob_diff_max']).toBe(0);
  });

  it('leaves completions out whose environment throws or does not answer, and says why', async () => {
    let calls = 0;
    const spoiled = (how: () => ReturnType<Episode['step']>) =>
      calculatorEpisodes((episode) => ({
        ...asEpisode(episode),
        step: (text) => (text.includes('</calc>') && calls++ % 2 === 0 ? how() : episode.step(text)),
      }));
    const thrown = spoiled(() => {
      throw new Error('the tool broke');
    });
    const hangs = { ...spoiled(() => new Promise(() => {})), stepTimeoutMs: 20 };
    for (const [environment, message] of [
      [thrown, 'the tool broke'],
      [hangs, 'expected an answer in 20 ms'],
    ] as const) {
      const { lines, samples } = await run({ environment, samplesPerRollout: 64 });
      const failed = samples.filter(({ problem }) => problem !== null);
      expect(lines[0]?.errored_rollouts).toBe(failed.length);
      expect(failed.length).toBeGreaterThan(3);
      for (const { reward, advantage, problem } of failed) {
        expect([reward, advantage]).toEqual([null, 0]);
        expect(problem).toContain(message);
      }
      expect(lines[0]?.['tools/failure_frequency']).toBeGreaterThan(0.2);
      expect(lines[0]?.['rollout/logprob_diff_max']).toBe(0);
    }
    const always = calculatorEpisodes((episode) => ({
      ...asEpisode(episode),
      step: () => Promise.reject(new Error('down')),
    }));
    await expect(run({ environment: always })).rejects.toThrow(
      /64 environments failed, the first with: Error: down/,
    );
  });

  it('bounds what never ends: turns, replies, and calls that are not closed', async () => {
    const says = (reply: string, stop = ['</calc>']) =>
      calculatorEpisodes((episode) => ({
        ...asEpisode(episode),
        stop,
        step: () => ({ reply, done: false }),
      }));
    const endless = await run({ environment: { ...says('1'), maxTurns: 3 }, samplesPerRollout: 64 });
    expect(endless.lines[0]).toMatchObject({ 'num_turns/max': 3, 'completions/clipped_ratio': 1 });
    for (const { parts } of endless.samples) expect(parts.at(-1).from).toBe('model');
    const huge = await run({
      environment: { ...says('7'.repeat(1e6)), maxReplyTokens: 5 },
      samplesPerRollout: 64,
    });
    const replies = huge.samples.flatMap(({ parts }) => parts).filter(({ from }) => from === 'environment');
    expect(replies.length).toBeGreaterThan(0);
    for (const { text } of replies) expect(text).toBe('77777');
    const full = await run({ environment: says('7'.repeat(1e6)), samplesPerRollout: 64 });
    expect(full.lines[0]).toMatchObject({ 'num_turns/max': 1, 'completions/clipped_ratio': 1 });
    // A policy that knows nothing begins calls and never ends them: its text is a turn like any other.
    const { sampler } = await calculatorTask(backend);
    const { episodes } = await sampled({}, sampler);
    const open = episodes.filter(({ outcome: { parts } }) =>
      /<calc>(?!.*<.calc>)/s.test(parts.at(-1)?.text ?? ''),
    );
    expect(open.length).toBeGreaterThan(5);
    for (const { outcome } of open) expect(outcome).toMatchObject({ problem: null, failures: 0 });
  });

  it('names what is missing', async () => {
    await expect(
      run({ encode: undefined as never, environment: { ...calculatorEpisodes(), maxTurns: 0 } }),
    ).rejects.toThrow(/environment.maxTurns a positive integer, got 0; encode beside an environment/);
    const rewards = (await calculatorTask(backend)).rewards;
    await expect(run({ environment: undefined, rewards })).rejects.toThrow(/expected episodes/);
  });
});
