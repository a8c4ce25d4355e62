// A model that merges, in training: the ratio loss beside the main one, its schedule, and what is logged.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Backend, Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { Engine } from '@minke/inference';
import { Arena } from '@minke/tensor';
import { DeepSeekModel, type MergingConfig, MergingTransformer } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import type { Example } from './batch.ts';
import { type Compression, CompressionControl, defaultCompression } from './compression.ts';
import { ShuffledSource } from './example-source.ts';
import type { TrainingSequence } from './interfaces.ts';
import { LocalLearner } from './local-learner.ts';
import { LocalSampler } from './local-sampler.ts';
import type { LocalLearnerOptions } from './local-training.ts';
import { tokenLogProbs } from './objectives/index.ts';
import { defaultSft, defaultSftLearner, type SftConfig, type SftMetrics, trainSft } from './stages/sft.ts';
import { smallConfig } from './testing/small-config.ts';
import { testBackend, testFolders } from './testing/small-model.ts';

const backend = await testBackend({ threads: 1 });
const newFolder = testFolders();
const config = { ...smallConfig, numLayers: 3, maxPositions: 128 };
const merging: MergingConfig = { preLayers: 1, postLayers: 1, maxRun: 6, offsets: true };

function newModel(own: Backend = backend, changes: Partial<MergingConfig> = {}): MergingTransformer {
  const arena = new Arena(own, { persistent: true });
  return MergingTransformer.init(
    DeepSeekModel.init(config, { arena, seed: 1 }),
    { ...merging, ...changes },
    { arena },
  );
}

/** Texts of a pattern with noise: something to learn, and neighbours that are more or less alike. */
function examples(count: number): Example[] {
  const random = new Random(3);
  return Array.from({ length: count }, () => {
    const start = random.integer(0, 24);
    const ids = Array.from({ length: 60 }, (_, t) =>
      random.uniform() < 0.15 ? random.integer(0, 24) : (start + (t >> 1)) % 24,
    );
    return { ids: Int32Array.from(ids), completionStart: 1 };
  });
}
const sequences: TrainingSequence[] = examples(3).map(({ ids }) => ({
  tokens: [...ids],
  completionStart: 2,
}));
const totals = { sequences: 3, tokens: 3 * 58 };
const spec = { name: 'cross_entropy', outputs: 'sums' } as const;
const control = (changes: Partial<Compression>): Partial<LocalLearnerOptions> => ({
  compression: { ...defaultCompression, ...changes },
});
const gradientsOf = async (model: MergingTransformer) =>
  new Map(
    await Promise.all(
      [...model.trainable()].map(
        async ([name, p]) => [name, Array.from((await p.grad?.read()) ?? [])] as const,
      ),
    ),
  );

describe('training a model that merges', () => {
  it('aims at more and more by a schedule that is plain data', () => {
    const aims = new CompressionControl({ ratioWeight: 0.03, start: 1.1, target: 2, warmupSteps: 9 });
    expect([0, 3, 9, 50].map((step) => Number(aims.aim(step).toFixed(6)))).toEqual([1.1, 1.4, 2, 2]);
    expect(new CompressionControl(defaultCompression).aim(0)).toBe(2);
  });

  it('adds the weighted gradient of the ratio loss to that of the main loss, over micro-batches', async () => {
    const exact = createReference({ bits: 64 });
    const gradients = async (ratioWeight: number, loss = 1) => {
      const model = newModel(exact);
      const learner = new LocalLearner(model, {
        ...control({ ratioWeight, start: 3, target: 3 }),
        balanceAlpha: 0,
      });
      const own = { ...totals, tokens: totals.tokens / loss };
      let ratio = 0;
      for (const one of sequences)
        ratio += (await learner.forwardBackward([one], spec, own)).metrics.ratio_loss!;
      return { ratio, gradients: await gradientsOf(model) };
    };
    const [plain, steered, twice] = [await gradients(0), await gradients(0.5), await gradients(1)];
    expect(steered.ratio).toBeCloseTo(plain.ratio, 12);
    for (const name of [
      'merging.merger.query.weight',
      'merging.merger.key.weight',
      'model.embed_tokens.weight',
    ]) {
      const [a, b, c] = [plain, steered, twice].map((run) => run.gradients.get(name) as number[]);
      const added = b!.map((x, i) => x - a![i]!);
      expect(Math.max(...added.map(Math.abs)), name).toBeGreaterThan(1e-5);
      expect(Math.max(...c!.map((x, i) => Math.abs(x - a![i]! - 2 * added[i]!))), name).toBeLessThan(1e-12);
    }
    const head = 'lm_head.weight'; // no part of the ratio
    expect(steered.gradients.get(head)).toEqual(plain.gradients.get(head));
  });

  it('is, at threshold 0, the training of the model without merging, bit for bit', async () => {
    const merged = newModel(backend, { threshold: 0 });
    const plain = newModel().model;
    const learners = [new LocalLearner(merged), new LocalLearner(plain)] as const;
    for (let i = 0; i < 3; i++) {
      const results = [];
      for (const learner of learners) {
        const { loss, metrics } = await learner.forwardBackward(sequences, spec, totals);
        const { gradNorm } = await learner.optimStep({ learningRate: 1e-2 });
        results.push([loss, metrics.balance_loss, gradNorm]);
        if (learner === learners[0]) {
          expect([metrics.merge_tokens, metrics.merge_entries]).toEqual([180, 180]);
          expect(metrics.ratio_loss).toBeUndefined();
        }
      }
      expect(results[0]).toEqual(results[1]);
    }
    const own = merged.model.parameters();
    for (const [name, p] of plain.parameters())
      expect(Array.from(await p.read()), name).toEqual(Array.from(await (own.get(name) as typeof p).read()));
  });

  it('lets weights decay, but neither the table of tokens nor the filters of a convolution', async () => {
    const names = [
      'merging.merger.query.weight',
      'model.embed_tokens.weight',
      'merging.convolution.weight',
    ] as const;
    const after = async (weightDecay: number) => {
      const model = newModel(backend, { convKernel: 4 });
      const read = (name: string) => model.trainable().get(name)?.read() as Promise<Float32Array>;
      model.trainable().get(names[2])?.write(normals);
      const learner = new LocalLearner(model, { weightDecay });
      await learner.forwardBackward(sequences, spec, totals);
      await learner.optimStep({ learningRate: 1e-2 });
      return Promise.all(names.map(async (name) => Array.from(await read(name))));
    };
    const random = new Random(6);
    const normals = Float32Array.from({ length: 4 * config.hiddenSize }, () => random.normal());
    const [kept, decayed] = [await after(0), await after(0.5)];
    expect(names.map((_, i) => kept[i]!.every((x, j) => x === decayed[i]![j]))).toEqual([false, true, true]);
    expect(kept[2]).not.toEqual(Array.from(normals));
  });

  it.each(['adamw', 'muon'] as const)('lets the router learn at a rate of its own, %s', async (optimizer) => {
    const change = async (routerRate: number) => {
      const model = newModel(backend, { router: 'paced' });
      const before = new Map<string, ArrayLike<number>>();
      for (const [name, p] of model.trainable()) before.set(name, await p.read());
      const learner = new LocalLearner(model, { ...control({ routerRate, start: 3, target: 3 }), optimizer });
      await learner.forwardBackward(sequences, spec, totals);
      await learner.optimStep({ learningRate: 1e-3 });
      const moved = new Map<string, number>();
      for (const [name, p] of model.trainable()) {
        const after = await p.read();
        moved.set(name, Math.max(...Array.from(before.get(name)!, (x, i) => Math.abs(after[i]! - x))));
      }
      return moved;
    };
    const [still, slow, usual] = [await change(0), await change(0.25), await change(1)];
    for (const name of ['query.weight', 'key.weight', 'run_bias', 'sharpness'].map(
      (x) => `merging.merger.${x}`,
    )) {
      expect(still.get(name), name).toBe(0);
      expect(slow.get(name)! / usual.get(name)!, name).toBeCloseTo(0.25, 2);
    }
    for (const name of ['merging.merger.gate', 'model.embed_tokens.weight'])
      expect([still.get(name), slow.get(name)], name).toEqual([usual.get(name), usual.get(name)]);
  });

  it.each([1, 4])(
    'computes the log-probabilities that generating through a state computes, bit for bit, kernel %i',
    async (convKernel) => {
      const model = newModel(backend, { convKernel });
      const learner = new LocalLearner(model);
      const { tokens } = sequences[0] as TrainingSequence;
      const [trained] = await learner.forward([{ tokens, completionStart: 1 }], { temperature: 1 });
      using state = model.createState({ maxTokens: 64, form: 'expanded' });
      const stepped: number[] = [];
      for (const [t, id] of tokens.slice(0, -1).entries()) {
        using arena = new Arena(backend);
        const batch = state.append(arena, [{ sequence: 0, count: 1, role: 'generated' }]);
        const { logits } = await model.forward({ ids: arena.tensor([id], [1], 'i32'), ...batch }, { state });
        const target = arena.tensor([tokens[t + 1] as number], [1], 'i32');
        stepped.push((await tokenLogProbs(logits, target, 1).read())[0] as number);
      }
      expect(state.entries(0)).toBeLessThan(tokens.length - 1);
      expect(stepped).toEqual(trained);
    },
  );

  const run = (
    compression: Partial<Compression>,
    settings: Pick<SftConfig, 'steps' | 'tokensPerStep' | 'checkpointEvery'>,
    folder: string,
    onStep: (metrics: SftMetrics) => void = () => {},
  ) =>
    trainSft({
      learner: new LocalLearner(newModel(), { ...defaultSftLearner, ...control(compression) }),
      source: new ShuffledSource(examples(64), 5),
      config: {
        ...{ ...defaultSft, ...settings, tokensPerMicroBatch: 250, learningRate: 1e-2 },
        schedule: { ...defaultSft.schedule, warmupSteps: 5 },
      },
      folder,
      onStep,
    });

  it('brings the rate to the aim, and logs it', async () => {
    const log: SftMetrics[] = [];
    const aims = { ratioWeight: 0.3, start: 1.1, target: 2, warmupSteps: 40 };
    const settings = { steps: 120, tokensPerStep: 240, checkpointEvery: 120 };
    await run(aims, settings, newFolder(), (metrics) => log.push(metrics));
    const mean = (name: 'compression' | 'boundary_rate' | 'loss' | 'ratio_loss', part: SftMetrics[]) =>
      part.reduce((sum, metrics) => sum + (metrics[name] as number), 0) / part.length;
    const [early, late] = [log.slice(0, 10), log.slice(-30)];
    expect([log[0], log[1], log.at(-1)].map((m) => m?.compression_aim)).toEqual([1.1, 1.1 + 0.9 / 40, 2]);
    expect(mean('boundary_rate', early)).toBeLessThan(0.4);
    expect(Math.abs(mean('boundary_rate', late) * 2 - 1)).toBeLessThan(0.1);
    expect(Math.abs(mean('compression', late) / 2 - 1)).toBeLessThan(0.1);
    expect(mean('ratio_loss', late)).toBeCloseTo(1, 1);
    expect(mean('loss', late)).toBeLessThan(0.8 * mean('loss', early));
  });

  it('continues a run that died to the same bytes', async () => {
    const aims = { start: 1.1, target: 2, warmupSteps: 6 };
    const [whole, again] = [newFolder(), newFolder()];
    const settings = { steps: 8, tokensPerStep: 480, checkpointEvery: 3 };
    await run(aims, settings, whole);
    const die = ({ global_step }: SftMetrics) => {
      if (global_step === 5) throw new Error('killed');
    };
    await expect(run(aims, settings, again, die)).rejects.toThrow('killed');
    await run(aims, settings, again);
    const metrics = (at: string) => readFileSync(join(at, 'metrics.jsonl'), 'utf8');
    expect(metrics(again)).toBe(metrics(whole));
    await expect(run({ ...aims, target: 3 }, settings, again)).rejects.toThrow(/saved with the settings/);
  });

  it('trains on samples of an engine, whose log-probabilities are its own, bit for bit', async () => {
    const model = newModel();
    const learner = new LocalLearner(model, control({ target: 2 }));
    const engine = new Engine(model, {
      ...{ maxSequences: 6, contextLength: 40, promptChunk: 7, form: 'expanded', temperedLogProbs: true },
    });
    const sampler = new LocalSampler(engine);
    const prompts = [[1, 4, 5, 6, 2, 2, 7, 8, 9, 3, 11, 5, 2], [1, 3], [7]];
    const request = { prompts, samplesPerPrompt: 4, maxNewTokens: 20, topP: 1, topK: 0, stopTokenIds: [0] };
    for (const [seed, temperature] of [1, 0.7, 1].entries()) {
      const samples = await sampler.sample({ ...request, temperature, seed });
      const trained = samples.map(({ prompt, tokens }) => ({
        tokens: [...(prompts[prompt] as number[]), ...tokens],
        completionStart: (prompts[prompt] as number[]).length,
      }));
      const own = samples.map(({ logProbs }) => logProbs);
      expect(await learner.forward(trained, { temperature })).toEqual(own);
      const sums = { sequences: trained.length, tokens: own.flat().length };
      const { logProbs } = await learner.forwardBackward(trained, { name: 'cross_entropy' }, sums);
      if (temperature === 1) expect(logProbs).toEqual(own);
      await learner.optimStep({ learningRate: 1e-2 }); // the next round is of other weights
    }
    await engine.dispose();
  });

  it('says what is wrong with its settings', () => {
    const wrong = { ratioWeight: -1, routerRate: -2, start: 1, target: Number.NaN, warmupSteps: 0.5 };
    expect(() => new LocalLearner(newModel(), { compression: wrong })).toThrow(
      /ratioWeight.*-1; compression.routerRate.*-2; compression.start.*above 1, got 1; compression.target.*NaN; compression.warmupSteps.*0.5/,
    );
    expect(() => new LocalLearner(newModel().model, control({}))).toThrow(/beside a model that merges/);
  });
});
