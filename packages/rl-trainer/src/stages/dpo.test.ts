import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { LocalLearner } from '../local-learner.ts';
import { read, smallModel, testBackend, testFolders, weightsOf } from '../testing/small-model.ts';
import { type DpoMetrics, type DpoStageConfig, defaultDpo, trainDpo } from './dpo.ts';
import type { PreferencePair } from './encode-rows.ts';

const backend = await testBackend();
const newFolder = testFolders();

/** Pairs whose chosen completion is even ids, the rejected one odd ids. */
function pairs(count: number, seed: number): PreferencePair[] {
  const random = new Random(seed);
  const example = (odd: number) => {
    const ids = Array.from({ length: random.integer(3, 7) }, () => 8 + 2 * random.integer(0, 8) + odd);
    return { ids: Int32Array.from([1, random.integer(2, 8), ...ids]), completionStart: 2 };
  };
  return Array.from({ length: count }, () => ({ chosen: example(0), rejected: example(1) }));
}
const config = (changes: Partial<DpoStageConfig> = {}): DpoStageConfig => ({
  ...defaultDpo,
  steps: 30,
  pairsPerStep: 16,
  learningRate: 3e-3,
  tokensPerMicroBatch: 100,
  evaluateEvery: 10,
  checkpointEvery: 7,
  ...changes,
});
const parts = () => {
  const model = smallModel(backend);
  return { learner: new LocalLearner(model), reference: new LocalLearner(smallModel(backend)) };
};
const [train, heldOut] = [pairs(100, 1), pairs(40, 2)];

describe('trainDpo', () => {
  it.each(['sigmoid', 'ipo', 'robust'] as const)(
    'prefers what was chosen on pairs it never saw, with %s',
    async (name) => {
      const lines: DpoMetrics[] = [];
      const dpo = { name, beta: 0.1, labelSmoothing: name === 'robust' ? 0.1 : 0 };
      const last = await trainDpo({
        ...parts(),
        pairs: train,
        heldOut,
        config: config({ dpo }),
        folder: newFolder(),
        onStep: (m) => lines.push(m),
      });
      expect(lines[0]!['rewards/margins']).toBe(0);
      if (name === 'sigmoid') expect(lines[0]!.loss).toBeCloseTo(Math.LN2, 5);
      expect(last['eval_rewards/accuracies']).toBeGreaterThan(0.9);
      expect(last['eval_rewards/margins']).toBeGreaterThan(0);
      expect(last['rewards/accuracies']).toBeGreaterThan(0.9);
      expect(last.loss).toBeLessThan(lines[0]!.loss);
    },
  );

  it('continues a run that died to the same bytes', async () => {
    const [whole, killed] = [newFolder(), newFolder()];
    const settings = config({ steps: 12 });
    const first = parts();
    await trainDpo({ ...first, pairs: train, heldOut, config: settings, folder: whole });
    const onStep = ({ global_step }: DpoMetrics) => {
      if (global_step === 9) throw new Error('killed');
    };
    const run = trainDpo({ ...parts(), pairs: train, heldOut, config: settings, folder: killed, onStep });
    await expect(run).rejects.toThrow('killed');
    const second = parts();
    await trainDpo({ ...second, pairs: train, heldOut, config: settings, folder: killed });
    expect(read(killed, 'metrics.jsonl')).toBe(read(whole, 'metrics.jsonl'));
    expect(await weightsOf(second.learner.model)).toEqual(await weightsOf(first.learner.model));
  });

  it('names bad settings and an empty set', async () => {
    const dpo = { name: 'sigmoid', beta: 0, labelSmoothing: 0.5 } as const;
    const bad = { ...parts(), pairs: train, folder: newFolder() };
    await expect(trainDpo({ ...bad, config: config({ steps: -1, dpo }) })).rejects.toThrow(
      /steps.*dpo.beta.*dpo.labelSmoothing/,
    );
    await expect(trainDpo({ ...bad, pairs: [], config: config() })).rejects.toThrow(/one pair or more/);
  });
});
