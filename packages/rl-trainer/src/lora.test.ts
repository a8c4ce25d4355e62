import { join } from 'node:path';
import { openSafetensors } from '@minke/checkpoints';
import { Arena } from '@minke/tensor';
import { createLora, DeepSeekModel, type LoraConfig } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import { ShuffledSource } from './example-source.ts';
import type { LossSpec, TrainingSequence } from './interfaces.ts';
import { LocalLearner } from './local-learner.ts';
import { LocalScorer } from './local-scorer.ts';
import { trainGrpo } from './stages/grpo.ts';
import type { GrpoMetrics } from './stages/grpo-options.ts';
import { defaultSft, type SftConfig, type SftMetrics, trainSft } from './stages/sft.ts';
import { bandit, banditConfig } from './testing/bandit.ts';
import { smallConfig } from './testing/small-config.ts';
import { read, testBackend, testFolders, weightsOf, withLargeHead } from './testing/small-model.ts';

const backend = await testBackend({ threads: 1 });
const newFolder = testFolders();
const everything: LoraConfig = { r: 4, alpha: 8, targets: ['all-linear'] };

/** A base and a learner of an adapter on it, each in an arena of its own. */
function adapted(config: LoraConfig = everything) {
  const memory = new Arena(backend, { persistent: true });
  const base = DeepSeekModel.init(smallConfig, { arena: memory, seed: 1 });
  const own = new Arena(backend, { persistent: true });
  const model = base.withLora(createLora(base, config, { arena: own, seed: 2 }));
  return { memory, base, own, model, learner: new LocalLearner(model) };
}
const sizeOf = (model: DeepSeekModel) => [...model.trainable().values()].reduce((n, { size }) => n + size, 0);
const adapterOf = async (model: DeepSeekModel) =>
  (await Promise.all([...model.trainable().values()].map((p) => p.read()))).flatMap((part) => [...part]);

const sequences: TrainingSequence[] = [
  { tokens: [3, 9, 4, 17, 2, 0], completionStart: 2 },
  { tokens: [3, 9, 5, 5, 1, 0], completionStart: 2 },
];
const totals = { sequences: 2, tokens: 8 };
const learningRate = 1e-2;
const sft: SftConfig = {
  ...defaultSft,
  ...{ steps: 8, tokensPerStep: 12, learningRate, checkpointEvery: 3 },
  schedule: { ...defaultSft.schedule, shape: 'constant', warmupSteps: 2 },
};
const source = () =>
  new ShuffledSource(
    [8, 11, 14, 20].map((k) => ({ ids: Int32Array.from([1, k, k + 1, k + 2, 0]), completionStart: 2 })),
    0,
  );

describe('an adapter in training', () => {
  it('learns examples by heart with supervised fine-tuning, the base as it was', async () => {
    const { base, learner } = adapted();
    await withLargeHead(base);
    const before = await weightsOf(base);
    const config = { ...sft, steps: 150, checkpointEvery: 1000 };
    const last = await trainSft({ learner, source: source(), config, folder: newFolder() });
    expect(last.loss).toBeLessThan(0.1);
    expect(last.mean_token_accuracy).toBe(1);
    expect(await weightsOf(base)).toEqual(before);
  });

  it("learns a bandit with GRPO: log-probabilities of the sampler are the trainer's, KL begins at 0", async () => {
    let base: DeepSeekModel | undefined;
    const parts = await bandit(backend, 1, async (model) => {
      base = await withLargeHead(model);
      return base.withLora(createLora(base, { ...everything, r: 8, alpha: 32 }, { seed: 1 }));
    });
    const before = await weightsOf(base as DeepSeekModel);
    const objective = { ...banditConfig.objective, entropyCoefficient: 0.05, beta: 0.001 };
    const schedule = { shape: 'linear', warmupSteps: 2, finalFraction: 0.05, decayFraction: 0 } as const;
    const config = { ...banditConfig, groupSize: 16, objective, schedule, learningRate: 5e-3 };
    const lines: GrpoMetrics[] = [];
    const onStep = (metrics: GrpoMetrics) => lines.push(metrics);
    await trainGrpo({ ...parts, config, steps: 160, folder: newFolder(), onStep });
    expect(lines[0]).toMatchObject({ kl: 0, approx_kl: 0, 'ratio/max': 1 });
    expect(lines[10]?.kl).toBeGreaterThan(0);
    expect(lines.map((line) => line['rollout/logprob_diff_max'])).toEqual(lines.map(() => 0));
    expect(lines[0]?.reward).toBeLessThan(0.3);
    expect(lines.at(-1)?.reward).toBeGreaterThan(0.8);
    expect(await weightsOf(base as DeepSeekModel)).toEqual(before);
  });

  it('starts DPO at log 2 against the base and lowers it', async () => {
    const { base, learner } = adapted();
    const refs = await new LocalLearner(base).forward(sequences, { temperature: 1 });
    const pairs = sequences.map((s, i) => ({ ...s, refLogProbs: refs[i]! }));
    const dpo: LossSpec = { name: 'dpo', dpo: { name: 'sigmoid', beta: 0.1, labelSmoothing: 0 } };
    const losses: number[] = [];
    for (let step = 0; step < 20; step++) {
      losses.push((await learner.forwardBackward(pairs, dpo, totals)).loss);
      await learner.optimStep({ learningRate });
    }
    expect(losses[0]).toBeCloseTo(Math.LN2, 6);
    expect(losses.at(-1)).toBeLessThan(0.5);
  });

  it('takes gradients and moments of the adapter alone, and nothing of the base', async () => {
    const { memory, base, own, model, learner } = adapted();
    const [baseBytes, ownBytes] = [memory.bytes, own.bytes];
    expect(ownBytes).toBe(4 * sizeOf(model));
    for (let step = 0; step < 2; step++) {
      await learner.forwardBackward(sequences, { name: 'cross_entropy' }, totals);
      await learner.optimStep({ learningRate });
    }
    for (const [name, { grad }] of base.parameters()) expect(grad, name).toBeNull();
    expect(memory.bytes).toBe(baseBytes);
    expect(own.bytes).toBe(4 * ownBytes);
    await learner.saveState(join(newFolder(), 'state'));
  });

  it('saves the adapter and its moments only, and continues a run that died to the same bytes', async () => {
    const whole = adapted();
    const wholeFolder = newFolder();
    await trainSft({ learner: whole.learner, source: source(), config: sft, folder: wholeFolder });
    const folder = newFolder();
    const die = ({ global_step }: SftMetrics) => {
      if (global_step === 5) throw new Error('killed');
    };
    const options = { config: sft, folder };
    await expect(
      trainSft({ learner: adapted().learner, source: source(), ...options, onStep: die }),
    ).rejects.toThrow('killed');
    const resumed = adapted();
    await trainSft({ learner: resumed.learner, source: source(), ...options });
    expect(await adapterOf(resumed.model)).toEqual(await adapterOf(whole.model));
    expect(read(folder, 'metrics.jsonl')).toBe(read(wholeFolder, 'metrics.jsonl'));
    const state = await openSafetensors(join(folder, 'checkpoints/step-0000008/state.safetensors'));
    expect(state.tensors.size).toBe(3 * whole.model.trainable().size);
    await state.close();
    const other = adapted({ ...everything, alpha: 4 });
    await expect(trainSft({ learner: other.learner, source: source(), ...options })).rejects.toThrow(
      /was saved with the settings .*"alpha":8/,
    );
  });

  it('trains a scoring model: head and adapter', async () => {
    const { base, model } = adapted();
    const before = await weightsOf(base);
    const scorer = new LocalScorer(model, { seed: 3 });
    const loss = { name: 'bradley_terry', centering: 0 } as const;
    const values: number[] = [];
    for (let step = 0; step < 10; step++) {
      values.push((await scorer.forwardBackward(sequences, loss, { sequences: 2 })).loss);
      await scorer.optimStep({ learningRate });
    }
    expect(values.at(-1)).toBeLessThan(0.5 * values[0]!);
    expect([...scorer.parameters().keys()]).toEqual([...model.trainable().keys(), 'score.weight']);
    expect(await weightsOf(base)).toEqual(before);
  });

  it("refuses to move the correction bias, which is the base's", () => {
    const { model } = adapted();
    expect(() => new LocalLearner(model, { biasUpdateGamma: 1e-3 })).toThrow(
      /expected biasUpdateGamma 0 beside an adapter, whose base rests, got 0.001/,
    );
  });
});
