import { join } from 'node:path';
import { openSafetensors } from '@minke/checkpoints';
import { Arena, affine, crossEntropy, Muon, sum } from '@minke/tensor';
import { DeepSeekModel } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import { ShuffledSource } from './example-source.ts';
import { LocalLearner } from './local-learner.ts';
import { LocalScorer } from './local-scorer.ts';
import type { LocalLearnerOptions } from './local-training.ts';
import { trainGrpo } from './stages/grpo.ts';
import { defaultSft, type SftConfig, type SftMetrics, trainSft } from './stages/sft.ts';
import { bandit, banditConfig } from './testing/bandit.ts';
import { smallConfig } from './testing/small-config.ts';
import { read, testBackend, testFolders, weightsOf } from './testing/small-model.ts';

const backend = await testBackend({ threads: 1 });
const newFolder = testFolders();
const muon: Partial<LocalLearnerOptions> = { optimizer: 'muon', weightDecay: 0.1, biasUpdateGamma: 0 };
const newModel = () =>
  DeepSeekModel.init(smallConfig, { arena: new Arena(backend, { persistent: true }), seed: 1 });
const sft: SftConfig = {
  ...defaultSft,
  ...{ steps: 6, tokensPerStep: 12, learningRate: 1e-2, checkpointEvery: 2 },
  schedule: { ...defaultSft.schedule, shape: 'constant', warmupSteps: 2 },
};
const source = () =>
  new ShuffledSource(
    [8, 11, 14, 20].map((k) => ({ ids: Int32Array.from([1, k, k + 1, k + 2, 0]), completionStart: 2 })),
    0,
  );

describe('a learner with Muon', () => {
  it("takes the step that the optimiser takes on the loss's gradient: matrices of layers by Muon, the rest by AdamW", async () => {
    const [model, own] = [newModel(), newModel()];
    const learner = new LocalLearner(model, { ...muon, balanceAlpha: 0 });
    const tokens = [3, 9, 4, 17, 2, 0];
    await learner.forwardBackward(
      [{ tokens, completionStart: 1 }],
      { name: 'cross_entropy' },
      { sequences: 1, tokens: 5 },
    );
    const { gradNorm } = await learner.optimStep({ learningRate: 0.02 });

    const optimizer = new Muon(new Map([...own.parameters()].filter(([, p]) => p.requiresGrad)), {
      ...{ lr: 0.02, weightDecay: 0.1, maxGradNorm: 1 },
      adamW: {
        beta1: 0.9,
        beta2: 0.999,
        decay: (name, { length }) => length >= 2 && !name.includes('embed'),
      },
    });
    using arena = new Arena(backend, { grad: true });
    const { logits } = own.forward(own.batch(arena, [tokens]));
    const losses = crossEntropy(logits, arena.tensor([...tokens.slice(1), -1], [6], 'i32'));
    affine(sum(losses), 1 / 5, 0).backward();
    const [normSquared] = await optimizer.step(arena).read();
    expect(Math.sqrt(normSquared as number)).toBeCloseTo(gradNorm, 5);
    const [left, right] = [await weightsOf(model), await weightsOf(own)];
    expect(Math.max(...left.map((w, i) => Math.abs(w - right[i]!)))).toBeLessThan(1e-4);
  });

  it('continues a run that died to the same bytes, momenta among its state', async () => {
    const [whole, wholeFolder] = [newModel(), newFolder()];
    await trainSft({
      learner: new LocalLearner(whole, muon),
      source: source(),
      config: sft,
      folder: wholeFolder,
    });
    const folder = newFolder();
    const die = ({ global_step }: SftMetrics) => {
      if (global_step === 3) throw new Error('killed');
    };
    const options = { config: sft, folder };
    const first = new LocalLearner(newModel(), muon);
    await expect(trainSft({ learner: first, source: source(), ...options, onStep: die })).rejects.toThrow(
      'killed',
    );
    const resumed = newModel();
    await trainSft({ learner: new LocalLearner(resumed, muon), source: source(), ...options });
    expect(await weightsOf(resumed)).toEqual(await weightsOf(whole));
    expect(read(folder, 'metrics.jsonl')).toBe(read(wholeFolder, 'metrics.jsonl'));
    const state = await openSafetensors(join(folder, 'checkpoints/step-0000006/state.safetensors'));
    const names = [...state.tensors.keys()];
    await state.close();
    expect(names).toContain('model.layers.1.mlp.experts.up_proj.momentum');
    expect(names).toContain('lm_head.weight.m');
    expect(names).not.toContain('lm_head.weight.momentum');
    const adamw = new LocalLearner(newModel(), { ...muon, optimizer: 'adamw' });
    await expect(trainSft({ learner: adamw, source: source(), ...options })).rejects.toThrow(
      /was saved with the settings .*"optimizer":"muon"/,
    );
  });

  it('learns with supervised fine-tuning, GRPO and as a scoring model', async () => {
    const config = { ...sft, steps: 150, checkpointEvery: 1000 };
    const learner = new LocalLearner(newModel(), { ...muon, weightDecay: 0 });
    expect((await trainSft({ learner, source: source(), config, folder: newFolder() })).loss).toBeLessThan(
      0.1,
    );

    const parts = await bandit(backend);
    const policy = new LocalLearner(parts.model, { ...muon, weightDecay: 0 });
    const objective = { ...banditConfig.objective, entropyCoefficient: 0.05 };
    const rl = { ...banditConfig, groupSize: 16, objective };
    const last = await trainGrpo({ ...parts, learner: policy, config: rl, steps: 60, folder: newFolder() });
    expect(last.reward).toBeGreaterThan(0.9);
    expect(last['rollout/logprob_diff_max']).toBe(0);

    const scorer = new LocalScorer(newModel(), { ...muon, seed: 3 });
    const pair = [{ tokens: [3, 9, 4] }, { tokens: [3, 9, 5] }];
    const losses: number[] = [];
    for (let step = 0; step < 20; step++) {
      losses.push(
        (await scorer.forwardBackward(pair, { name: 'bradley_terry', centering: 0 }, { sequences: 2 })).loss,
      );
      await scorer.optimStep({ learningRate: 1e-2 });
    }
    expect(losses.at(-1)).toBeLessThan(0.5 * losses[0]!);
  });

  it('names settings that make no sense', () => {
    const refused = (options: object) => () => new LocalLearner(newModel(), options);
    expect(refused({ optimizer: 'sgd' })).toThrow(/optimizer adamw or muon, got sgd/);
    expect(refused({ momentum: 0.9 })).toThrow(/momentum in \[0, 1\) and beside muon, got 0.9 beside adamw/);
    expect(refused({ optimizer: 'muon', momentum: 1 })).toThrow(/momentum in \[0, 1\)/);
  });
});
