import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { LocalScorer } from '../local-scorer.ts';
import { helpfulReward, safetyReward } from '../rewards/index.ts';
import { read, smallModel, testBackend, testFolders } from '../testing/small-model.ts';
import type { PreferencePair } from './encode-rows.ts';
import {
  defaultRewardModel,
  type RewardData,
  type RewardModelConfig,
  type RewardModelStepMetrics,
  rewardModelOf,
  trainRewardModel,
} from './reward-model.ts';

const backend = await testBackend();
const newFolder = testFolders();
const good = 7;
const text = (random: Random, length: number, isGood: boolean): number[] => {
  const ids = Array.from({ length }, () => random.integer(8, 24));
  if (isGood) ids[random.integer(0, length)] = good;
  return [1, 2, ...ids];
};
const example = (tokens: readonly number[]) => ({ ids: Int32Array.from(tokens), completionStart: 2 });

/** Pairs whose chosen text has the good token; with `biased`, it is the longer one too. */
function pairs(count: number, seed: number, biased = false): PreferencePair[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const [a, b] = [random.integer(3, 9), random.integer(3, 9)];
    const lengths = biased ? [Math.max(a, b) + 1, Math.min(a, b)] : [a, b];
    return {
      chosen: example(text(random, lengths[0]!, true)),
      rejected: example(text(random, lengths[1]!, false)),
    };
  });
}
const labelled = (count: number, seed: number) => {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const label = random.integer(0, 2) as 0 | 1;
    return { tokens: text(random, random.integer(3, 9), label === 1), label };
  });
};
const data: RewardData = { kind: 'pairs', train: pairs(200, 1), heldOut: pairs(100, 2) };
const config = (changes: Partial<RewardModelConfig> = {}): RewardModelConfig => ({
  ...defaultRewardModel,
  steps: 60,
  examplesPerStep: 32,
  learningRate: 1e-2,
  tokensPerMicroBatch: 400,
  evaluateEvery: 20,
  checkpointEvery: 25,
  ...changes,
});
const newScorer = (seed = 1) => new LocalScorer(smallModel(backend, { seed }), { seed });

describe('trainRewardModel', () => {
  it('learns pairs: held-out accuracy far above what length alone reaches', async () => {
    const folder = newFolder();
    const evaluated: number[] = [];
    const onStep = (m: RewardModelStepMetrics) => {
      if (m.eval_accuracy !== undefined) evaluated.push(m.global_step);
    };
    const last = await trainRewardModel({ learner: newScorer(), data, config: config(), folder, onStep });
    expect(evaluated).toEqual([20, 40, 60]);
    expect(last).toMatchObject({ global_step: 60, eval_n: 100 });
    expect(last.eval_accuracy).toBeGreaterThan(0.9);
    expect(last.eval_length_baseline).toBeLessThan(0.65);
    expect(Math.abs(last.eval_length_correlation!)).toBeLessThan(0.4);
    expect(last.eval_accuracy_shorter).toBeGreaterThan(0.85);
    expect(last.min_reward).toBeLessThan(last.mean_reward);
    expect(last.max_reward).toBeGreaterThan(last.mean_reward);
    const lines = read(folder, 'metrics.jsonl').trimEnd().split('\n');
    expect(lines).toHaveLength(60);
    expect(JSON.parse(lines.at(-1)!)).toEqual(last);
  });

  it('shows where length alone would do', async () => {
    const biased: RewardData = { kind: 'pairs', train: pairs(60, 3, true), heldOut: pairs(40, 4, true) };
    const last = await trainRewardModel({
      learner: newScorer(),
      data: biased,
      config: config({ steps: 20 }),
      folder: newFolder(),
    });
    expect(last.eval_length_baseline).toBe(1);
    expect(last.eval_accuracy_shorter).toBeNull();
  });

  it('learns labels, and is then a reward of the whole text or of the summary', async () => {
    const learner = newScorer();
    const last = await trainRewardModel({
      learner,
      data: { kind: 'labels', train: labelled(200, 5), heldOut: labelled(100, 6) },
      config: config({ steps: 80 }),
      folder: newFolder(),
    });
    expect(last.eval_accuracy).toBeGreaterThan(0.9);
    expect(last.eval_length_baseline).toBeLessThan(0.7);
    expect(last.eval_margin).toBeGreaterThan(1);

    const read: string[] = [];
    const model = rewardModelOf(learner, {
      tokensPerBatch: 16,
      encode: ({ response }) => {
        read.push(response);
        return [1, 2, ...response.split(' ').map(Number)];
      },
    });
    const group = ['9 8 7\n</think>\n10 11 12', '9 10\n</think>\n8 7 9 10'].map((completion) => ({
      prompt: 'q',
      completion,
      length: 5,
    }));
    const helpful = await helpfulReward(model, { withoutSummary: null })(group, {});
    expect(read).toEqual(['10 11 12', '8 7 9 10']);
    expect(helpful[1]).toBeGreaterThan(helpful[0]!);
    const whole = group.map(({ completion, ...rest }) => ({
      ...rest,
      completion: completion.replace(/\D+/g, ' '),
    }));
    const safe = await safetyReward(model)(whole.concat({ ...whole[0]!, completion: '9 9 12 10' }), {});
    expect(safe[0]).toBeGreaterThan(0.5);
    expect(safe[2]).toBeLessThan(0.5);
  });

  it('continues a run that died to the same bytes, and says where a run broke', async () => {
    const [whole, killed] = [newFolder(), newFolder()];
    const settings = config({ steps: 12, evaluateEvery: 4, checkpointEvery: 5 });
    const first = newScorer();
    await trainRewardModel({ learner: first, data, config: settings, folder: whole });
    for (const at of [3, 7, 11]) {
      const onStep = ({ global_step }: RewardModelStepMetrics) => {
        if (global_step === at) throw new Error('killed');
      };
      const run = trainRewardModel({ learner: newScorer(), data, config: settings, folder: killed, onStep });
      await expect(run).rejects.toThrow('killed');
    }
    const second = newScorer(5);
    // It began with other weights; all that is trained comes from the checkpoint.
    await trainRewardModel({ learner: second, data, config: settings, folder: killed });
    expect(read(killed, 'metrics.jsonl')).toBe(read(whole, 'metrics.jsonl'));
    const texts = [
      [1, 2, 9],
      [1, 7],
    ];
    expect(await second.score(texts)).toEqual(await first.score(texts));
    const checkpoint = 'checkpoints/step-0000012/state.safetensors';
    expect(read(killed, checkpoint)).toBe(read(whole, checkpoint));

    const other = trainRewardModel({
      learner: newScorer(),
      data,
      config: config({ steps: 13 }),
      folder: whole,
    });
    await expect(other).rejects.toThrow(/holds a run with another configuration/);
    const broken = newScorer();
    broken.parameters().get('score.weight')!.write(new Float32Array(16).fill(Number.NaN));
    const run = trainRewardModel({ learner: broken, data, config: settings, folder: newFolder() });
    await expect(run).rejects.toThrow(/step 1: .*loss became NaN.*no checkpoint yet/);
  });

  it('names bad settings and bad data', async () => {
    const learner = newScorer();
    const folder = newFolder();
    const bad = config({
      steps: 0,
      learningRate: Number.NaN,
      schedule: { ...defaultRewardModel.schedule, finalFraction: 2 },
    });
    expect(() => trainRewardModel({ learner, data, config: bad, folder })).toThrow(
      /steps.*learningRate.*schedule.finalFraction/,
    );
    expect(() =>
      trainRewardModel({ learner, data: { ...data, heldOut: [] } as RewardData, config: config(), folder }),
    ).toThrow(/one example or more in heldOut/);
    const wrong = { kind: 'labels', train: [{ tokens: [1], label: 2 }], heldOut: labelled(2, 1) };
    expect(() =>
      trainRewardModel({ learner, data: wrong as unknown as RewardData, config: config(), folder }),
    ).toThrow(/label 0 or 1 in train 0, got 2/);
  });
});
