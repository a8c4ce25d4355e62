// Indexers of sparse attention in training: they learn from attention, and nothing else feels it.
import { Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { DeepSeekModel } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import type { TrainingSequence } from './interfaces.ts';
import { LocalLearner } from './local-learner.ts';
import type { LocalLearnerOptions } from './local-training.ts';
import { smallConfig } from './testing/small-config.ts';

const backend = createReference();
const config = { ...smallConfig, indexer: { heads: 2, headDim: 16, topK: 6 } };
const random = new Random(5);
const sequences: TrainingSequence[] = [20, 17].map((length) => ({
  tokens: Array.from({ length }, () => random.integer(0, config.vocabSize)),
  completionStart: 1,
}));
const totals = { sequences: 2, tokens: 35 };
const spec = { name: 'cross_entropy', outputs: 'sums' } as const;

const learnerOf = (options: Partial<LocalLearnerOptions> = {}, changes = {}) => {
  const arena = new Arena(backend, { persistent: true });
  const model = DeepSeekModel.init({ ...config, ...changes }, { arena, seed: 1 });
  return new LocalLearner(model, { balanceAlpha: 0, ...options });
};
const gradientsOf = async (learner: LocalLearner, indexers: boolean) => {
  const found = new Map<string, number[]>();
  for (const [name, p] of learner.model.trainable())
    if (name.includes('.indexer.') === indexers) found.set(name, Array.from((await p.grad?.read()) ?? []));
  return found;
};

describe('indexers in training', () => {
  it('learn nothing unless asked to, and then leave every other gradient as it was', async () => {
    const [still, learning] = [learnerOf(), learnerOf({ indexer: { weight: 0.5, warmupSteps: 0 } })];
    const plain = await still.forwardBackward(sequences, spec, totals);
    const result = await learning.forwardBackward(sequences, spec, totals);
    expect(plain.metrics.indexer_loss).toBeUndefined();
    expect(result.metrics.indexer_loss).toBeGreaterThan(0);
    expect(result.loss).toBe(plain.loss);
    expect(await gradientsOf(learning, false)).toEqual(await gradientsOf(still, false));
    for (const gradient of (await gradientsOf(still, true)).values())
      expect(gradient.every((x) => x === 0)).toBe(true);
    for (const [name, gradient] of await gradientsOf(learning, true))
      expect(Math.max(...gradient.map(Math.abs)), name).toBeGreaterThan(0);
  });

  it('see dense attention in the steps of the warm-up, and what they select after it', async () => {
    const learner = learnerOf({ indexer: { weight: 1, warmupSteps: 1 } });
    const dense = learnerOf({}, { indexer: undefined });
    for (const [name, p] of dense.model.trainable())
      p.write(await (learner.model.trainable().get(name) as typeof p).read());
    const first = await learner.forwardBackward(sequences, spec, totals);
    const expected = await dense.forwardBackward(sequences, spec, totals);
    expect(first.loss).toBeCloseTo(expected.loss, 5);
    await learner.optimStep({ learningRate: 0 });
    const second = await learner.forwardBackward(sequences, spec, totals);
    expect(Math.abs(second.loss - first.loss)).toBeGreaterThan(1e-5);
  });

  it('come closer to attention, over micro-batches as at once', async () => {
    const learner = learnerOf({ indexer: { weight: 1, warmupSteps: 100 } });
    const losses: number[] = [];
    for (let step = 0; step < 12; step++) {
      let loss = 0;
      for (const one of sequences)
        loss += (await learner.forwardBackward([one], spec, totals)).metrics.indexer_loss as number;
      losses.push(loss);
      await learner.optimStep({ learningRate: 1e-2 });
    }
    expect(losses.at(-1)).toBeLessThan(0.7 * (losses[0] as number));
  });

  it.each([
    [{ weight: 0, warmupSteps: 0.5 }, {}, /weight a number above 0, got 0; .*warmupSteps .*0.5/],
    [{ weight: 1, warmupSteps: 0 }, { indexer: undefined }, /beside a model with indexers/],
  ])('are refused settings out of range: %j', (indexer, changes, message) => {
    expect(() => learnerOf({ indexer }, changes)).toThrow(message);
  });
});
