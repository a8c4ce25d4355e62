import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auto } from '@minke/gpu-backends';
import { createReference } from '@minke/gpu-backends/reference';
import { Engine } from '@minke/inference';
import { Arena } from '@minke/tensor';
import { DeepSeekModel } from '@minke/transformer';
import { afterAll, describe, expect, it } from 'vitest';
import type { LossSpec, TrainingSequence } from './interfaces.ts';
import { LocalLearner } from './local-learner.ts';
import { LocalSampler } from './local-sampler.ts';
import type { LocalLearnerOptions } from './local-training.ts';
import { type PolicyObjective, presets, stepAdvantages, stepMetrics } from './objectives/index.ts';
import { smallConfig as config } from './testing/small-config.ts';

const root = mkdtempSync(join(tmpdir(), 'minke-learner-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function newLearner(options: Partial<LocalLearnerOptions> = {}, bits: 32 | 64 = 64, seed = 1): LocalLearner {
  const arena = new Arena(createReference({ bits }), { persistent: true });
  return new LocalLearner(DeepSeekModel.init(config, { arena, seed }), options);
}
const weights = async (learner: LocalLearner): Promise<number[]> => {
  const parts = await Promise.all([...learner.model.parameters().values()].map((p) => p.read()));
  return parts.flatMap((part) => Array.from(part));
};

const sequence = (length: number, completionStart: number, salt: number): TrainingSequence => ({
  tokens: Array.from({ length }, (_, i) => (5 + 7 * i + 3 * salt) % 24),
  completionStart,
});
const sequences = [sequence(9, 4, 0), sequence(6, 2, 1), sequence(8, 5, 2), sequence(5, 1, 3)];
const completions = sequences.map(({ tokens, completionStart }) => tokens.length - completionStart);
const totals = { sequences: 4, tokens: completions.reduce((a, b) => a + b), maxCompletionLength: 8 };
const withAdvantages = (values: readonly number[]): TrainingSequence[] =>
  sequences.map((s, i) => ({ ...s, advantages: new Array<number>(completions[i]!).fill(values[i]!) }));
const policy = (objective: PolicyObjective, temperature = 1): LossSpec => ({
  name: 'policy',
  objective,
  temperature,
});
const dapo = policy(presets.dapo.objective);
const learningRate = 1e-2;

describe('LocalLearner', () => {
  it('gives packed sequences the loss, gradient and update of the same sequences apart', async () => {
    const advantages = withAdvantages([1, -0.5, 0.25, -1]);
    for (const loss of [{ name: 'cross_entropy' } as const, dapo]) {
      const [whole, apart] = [newLearner(), newLearner()];
      const { loss: value } = await whole.forwardBackward(advantages, loss, totals);
      const parts: number[] = [];
      for (const one of advantages) parts.push((await apart.forwardBackward([one], loss, totals)).loss);
      expect(parts.reduce((a, b) => a + b)).toBeCloseTo(value, 12);
      const [a, b] = [await whole.optimStep({ learningRate }), await apart.optimStep({ learningRate })];
      expect(b.gradNorm).toBeCloseTo(a.gradNorm, 10);
      expect(b.metrics).toEqual(a.metrics);
      const [left, right] = [await weights(whole), await weights(apart)];
      expect(Math.max(...left.map((w, i) => Math.abs(w - right[i]!)))).toBeLessThan(1e-6);
    }
  });

  it('is exactly on-policy in the first update, in f32 too', async () => {
    for (const bits of [32, 64] as const) {
      const learner = newLearner({}, bits);
      for (const temperature of [1, 0.7]) {
        const before = await learner.forward(sequences, { temperature });
        const advantages = withAdvantages([1, -0.5, 0.25, -1]).map((s, i) => ({
          ...s,
          oldLogProbs: before[i]!,
        }));
        const result = await learner.forwardBackward(
          advantages,
          policy(presets.dapo.objective, temperature),
          totals,
        );
        expect(result.logProbs).toEqual(before);
        const expected = [1, -0.5, 0.25, -1].reduce((sum, a, i) => sum - a * completions[i]!, 0);
        expect(result.loss).toBeCloseTo(expected / totals.tokens, bits === 64 ? 12 : 6);
      }
    }
  });

  it('has the same log-probabilities on the kernels of this machine however sequences are packed', async () => {
    const backend = await auto();
    try {
      const arena = new Arena(backend, { persistent: true });
      const learner = new LocalLearner(DeepSeekModel.init(config, { arena, seed: 1 }));
      const together = await learner.forward(sequences, { temperature: 0.9 });
      const apart = await Promise.all(
        [...sequences.keys()]
          .reverse()
          .map(async (i) => learner.forward([sequences[i]!], { temperature: 0.9 })),
      );
      expect(apart.reverse().flat()).toEqual(together);
      const spec = policy(presets.dapo.objective, 0.9);
      const { logProbs } = await learner.forwardBackward(withAdvantages([1, 1, 1, 1]).slice(1), spec, totals);
      expect(logProbs).toEqual(together.slice(1));
    } finally {
      backend.dispose();
    }
  });

  describe('computes a prompt that neighbours share once', () => {
    const sample = (prompt: number, length: number, salt: number): TrainingSequence => ({
      tokens: [...sequence(5, 1, prompt).tokens, ...sequence(length, 1, salt).tokens],
      completionStart: 5,
      advantages: new Array<number>(length).fill(salt % 2 ? 1 : -0.5),
    });
    const groups = [
      sample(0, 3, 4),
      sample(0, 2, 5),
      sample(0, 4, 7),
      sample(1, 2, 6),
      sample(2, 1, 5),
      sample(2, 3, 8),
    ];
    const all = { sequences: 6, tokens: 15, maxCompletionLength: 8 };

    it('with the gradient, the balance of experts and the update of the sequences apart', async () => {
      const [whole, apart] = [newLearner({ balanceAlpha: 0.1 }), newLearner({ balanceAlpha: 0.1 })];
      using arena = new Arena(whole.model.backend);
      const ids = groups.map(({ tokens }) => tokens);
      const { shared, segments } = whole.model.batch(arena, ids, {
        promptLengths: new Array<number>(6).fill(5),
      });
      expect(shared?.keyRows.shape).toEqual([45]);
      expect(segments?.at(-1)).toMatchObject({ start: 27, count: 3, prefix: { start: 21 } });
      const { loss, metrics } = await whole.forwardBackward(groups, dapo, all);
      const parts = [];
      for (const one of groups) parts.push(await apart.forwardBackward([one], dapo, all));
      expect(parts.reduce((sum, part) => sum + part.loss, 0)).toBeCloseTo(loss, 12);
      const balance = parts.reduce((sum, part) => sum + part.metrics.balance_loss!, 0);
      expect(balance).toBeCloseTo(metrics.balance_loss!, 12);
      const [a, b] = [await whole.optimStep({ learningRate }), await apart.optimStep({ learningRate })];
      expect(a.gradNorm).toBeCloseTo(b.gradNorm, 10);
      expect(a.metrics).toEqual(b.metrics);
      const [left, right] = [await weights(whole), await weights(apart)];
      expect(Math.max(...left.map((w, i) => Math.abs(w - right[i]!)))).toBeLessThan(1e-6);
    });

    it('with the log-probabilities of each alone, bit for bit on the kernels of this machine', async () => {
      const backend = await auto();
      try {
        const arena = new Arena(backend, { persistent: true });
        const learner = new LocalLearner(DeepSeekModel.init(config, { arena, seed: 1 }));
        const { logProbs } = await learner.forwardBackward(groups, policy(presets.dapo.objective, 0.9), all);
        expect(await learner.forward(groups, { temperature: 0.9 })).toEqual(logProbs);
        for (const [i, one] of groups.entries())
          expect(await learner.forward([one], { temperature: 0.9 })).toEqual([logProbs[i]]);
      } finally {
        backend.dispose();
      }
    });
  });

  it('leaves masked tokens out, whatever stands beside them', async () => {
    const gradNorm = async (advantage: number, mask: readonly number[]) => {
      const learner = newLearner();
      const one = { ...sequences[0]!, mask, advantages: [1, 1, advantage, 1, 1] };
      const result = await learner.forwardBackward([one], dapo, { sequences: 1, tokens: 4 });
      expect(result.logProbs[0]).toHaveLength(4);
      return (await learner.optimStep({ learningRate })).gradNorm;
    };
    expect(await gradNorm(5, [1, 1, 0, 1, 1])).toBe(await gradNorm(-9, [1, 1, 0, 1, 1]));
  });

  it('counts a completion that is masked whole as a sequence without tokens', async () => {
    const spec = policy({ ...presets.dapo.objective, aggregation: 'grpo' });
    const batch = withAdvantages([1, -0.5, 0.25, -1]);
    const cut = batch.map((s, i) => (i < 3 ? s : { ...s, mask: new Array<number>(completions[3]!).fill(0) }));
    const result = await newLearner().forwardBackward(cut, spec, { ...totals, tokens: totals.tokens - 4 });
    expect(result.logProbs[3]).toEqual([]);
    expect(result.loss).toBeCloseTo(-(1 - 0.5 + 0.25) / 4, 12);
    const nothing = await newLearner().forwardBackward(cut.slice(3), spec, totals);
    expect(nothing.loss).toBe(0);
  });

  it('makes completions with advantage likelier and the others rarer', async () => {
    const learner = newLearner();
    const sum = (rows: readonly (readonly number[])[], i: number) => rows[i]!.reduce((a, b) => a + b);
    const before = await learner.forward(sequences, { temperature: 1 });
    for (let step = 0; step < 5; step++) {
      await learner.forwardBackward(withAdvantages([1, -1, 1, -1]), dapo, totals);
      await learner.optimStep({ learningRate: 3e-3 });
    }
    const after = await learner.forward(sequences, { temperature: 1 });
    for (const i of [0, 2]) expect(sum(after, i)).toBeGreaterThan(sum(before, i));
    for (const i of [1, 3]) expect(sum(after, i)).toBeLessThan(sum(before, i));
  });

  it('has no KL to a reference that has just become the policy', async () => {
    const [learner, reference] = [newLearner({}, 32), newLearner({}, 32)];
    const objective = { ...presets['r1-zero'].objective, beta: 0.1 };
    const spec = policy(objective);
    const kl = async () => {
      const refs = await reference.forward(sequences, { temperature: 1 });
      const batch = withAdvantages([1, -1, 1, -1]).map((s, i) => ({ ...s, refLogProbs: refs[i]! }));
      const { logProbs } = await learner.forwardBackward(batch, spec, totals);
      await learner.optimStep({ learningRate });
      const flat = logProbs.flat();
      const record = { lengths: completions, logProbs: flat, oldLogProbs: flat, advantages: flat };
      return stepMetrics({ ...record, refLogProbs: refs.flat() }, objective.loss).kl!;
    };
    expect(await kl()).toBe(0);
    expect(await kl()).toBeGreaterThan(1e-6);
    await reference.copyFrom(learner.model);
    expect(await kl()).toBe(0);
  });

  it('continues from a saved state to the same bytes', async () => {
    const step = async (learner: LocalLearner) => {
      await learner.forwardBackward(withAdvantages([1, -1, 1, -1]), dapo, totals);
      return learner.optimStep({ learningRate });
    };
    const learner = newLearner({}, 32);
    await step(learner);
    await learner.saveState(join(root, 'saved'));
    const expected = await step(learner);
    const resumed = newLearner({}, 32, 2);
    await resumed.loadState(join(root, 'saved'));
    expect(await resumed.exportForSampler()).toEqual({ version: 1, location: null });
    expect(await step(resumed)).toEqual(expected);
    expect(await weights(resumed)).toEqual(await weights(learner));
  });

  it('runs calls in their order without being waited for, and goes on after one that fails', async () => {
    const [waited, queued] = [newLearner(), newLearner()];
    const batch = withAdvantages([1, -1, 1, -1]);
    const first = await waited.forwardBackward(batch, dapo, totals);
    await waited.optimStep({ learningRate });
    const second = await waited.forward(sequences, { temperature: 1 });
    const calls = [
      queued.forwardBackward(batch, dapo, totals),
      queued.forwardBackward(sequences, dapo, totals).catch(() => 'failed'),
      queued.optimStep({ learningRate }),
      queued.forward(sequences, { temperature: 1 }),
    ];
    const results = await Promise.all<unknown>(calls);
    expect(results[0]).toEqual(first);
    expect(results[1]).toBe('failed');
    expect(results[3]).toEqual(second);
  });

  it('starts DPO at log 2 and distillation of itself at 0', async () => {
    const learner = newLearner();
    const refs = await learner.forward(sequences, { temperature: 1 });
    const pairs = sequences.map((s, i) => ({ ...s, refLogProbs: refs[i]! }));
    const dpo = { name: 'sigmoid', beta: 0.1, labelSmoothing: 0 } as const;
    const { loss } = await learner.forwardBackward(pairs, { name: 'dpo', dpo }, totals);
    expect(loss).toBeCloseTo(Math.LN2, 12);
    const one = [sequences[1]!];
    const distribution = async (token: number) => {
      const tokens = [...one[0]!.tokens];
      const rows: number[] = [];
      for (let t = one[0]!.completionStart; t < tokens.length; t++) {
        const asked = [...tokens.slice(0, t), token];
        rows.push(
          (await learner.forward([{ tokens: asked, completionStart: t }], { temperature: 1 }))[0]![0]!,
        );
      }
      return rows;
    };
    const columns = await Promise.all(Array.from({ length: 24 }, (_, v) => v).map(distribution));
    const teacherLogProbs = columns[0]!.flatMap((_, t) => columns.map((rows) => rows[t]!));
    const spec: LossSpec = { name: 'distillation', beta: 1, temperature: 1 };
    const own = await learner.forwardBackward([{ ...one[0]!, teacherLogProbs }], spec, {
      sequences: 1,
      tokens: 4,
    });
    expect(own.loss).toBeCloseTo(0, 12);
  });

  it('says what a loss lacks', async () => {
    const learner = newLearner();
    await expect(learner.forwardBackward(sequences, dapo, totals)).rejects.toThrow(/expected advantages/);
    const dpo = { name: 'sigmoid', beta: 0.1, labelSmoothing: 0 } as const;
    await expect(learner.forwardBackward(sequences, { name: 'dpo', dpo }, totals)).rejects.toThrow(
      /expected pairs of sequences with refLogProbs/,
    );
    await expect(learner.loadState(join(root, 'nothing'))).rejects.toThrow(/expected a state in .*nothing/);
  });
});

describe('LocalSampler', () => {
  const engineOptions = { contextLength: 32, form: 'expanded', temperedLogProbs: true } as const;
  const request = {
    prompts: [
      [3, 4, 5],
      [9, 1],
    ],
    samplesPerPrompt: 3,
    maxNewTokens: 6,
    temperature: 1,
    topP: 1,
    topK: 0,
    stopTokenIds: [0],
    seed: 7,
  };

  it('draws groups whose log-probabilities are those of the trainer, and says which policy they are of', async () => {
    const learner = newLearner({}, 32);
    const engine = new Engine(learner.model, { ...engineOptions, maxSequences: 4 });
    try {
      const sampler = new LocalSampler(engine);
      const samples = await sampler.sample(request);
      expect(samples.map(({ prompt }) => prompt)).toEqual([0, 0, 0, 1, 1, 1]);
      expect(new Set(samples.map(({ tokens }) => tokens.join())).size).toBeGreaterThan(3);
      for (const { tokens, finish } of samples) expect(finish).toBe(tokens.at(-1) === 0 ? 'stop' : 'length');
      expect(await sampler.sample(request)).toEqual(samples);

      const batch = samples.map(({ prompt, tokens, logProbs }) => ({
        tokens: [...request.prompts[prompt]!, ...tokens],
        completionStart: request.prompts[prompt]!.length,
        samplingLogProbs: logProbs,
        advantages: tokens.map(() => 1),
      }));
      const tokens = samples.reduce((n, s) => n + s.tokens.length, 0);
      const { logProbs } = await learner.forwardBackward(batch, dapo, { sequences: 6, tokens });
      expect(logProbs).toEqual(samples.map((s) => s.logProbs));
      await learner.optimStep({ learningRate });
      await sampler.update(await learner.exportForSampler());
      const after = await sampler.sample(request);
      expect(after.every(({ policyVersion }) => policyVersion === 1)).toBe(true);
    } finally {
      await engine.dispose();
    }
  });

  it('samples, judges and learns in a loop: a rewarded token becomes frequent', async () => {
    const backend = await auto();
    const arena = new Arena(backend, { persistent: true });
    const learner = new LocalLearner(DeepSeekModel.init(config, { arena, seed: 3 }));
    const engine = new Engine(learner.model, { ...engineOptions, maxSequences: 16 });
    try {
      const sampler = new LocalSampler(engine);
      const [groupSize, wanted] = [8, 7];
      const shares: number[] = [];
      for (let step = 0; step < 30; step++) {
        const samples = await sampler.sample({ ...request, samplesPerPrompt: groupSize, seed: step });
        const lengths = samples.map(({ tokens }) => tokens.length);
        const rewards = samples.map(
          ({ tokens }) => tokens.filter((t) => t === wanted).length / tokens.length,
        );
        shares.push(rewards.reduce((a, b) => a + b) / rewards.length);
        const table = { names: ['share'], rewards: [rewards], groupSize };
        const { advantages } = stepAdvantages({ table, lengths }, presets.dapo);
        let start = 0;
        const batch = samples.map(({ prompt, tokens }) => ({
          tokens: [...request.prompts[prompt]!, ...tokens],
          completionStart: request.prompts[prompt]!.length,
          advantages: Array.from(advantages.slice(start, (start += tokens.length))),
        }));
        const counts = { sequences: samples.length, tokens: lengths.reduce((a, b) => a + b) };
        await learner.forwardBackward(batch, dapo, counts);
        await learner.optimStep({ learningRate });
        await sampler.update(await learner.exportForSampler());
      }
      expect(shares[0]).toBeLessThan(0.3);
      expect(shares.at(-1)).toBeGreaterThan(0.8);
    } finally {
      await engine.dispose();
      backend.dispose();
    }
  });

  it('refuses weights from elsewhere, and stops when asked to', async () => {
    const learner = newLearner({}, 32);
    const engine = new Engine(learner.model, { ...engineOptions, maxSequences: 2 });
    try {
      const sampler = new LocalSampler(engine);
      await expect(sampler.update({ version: 1, location: 'weights/1' })).rejects.toThrow(/weights\/1/);
      await expect(sampler.sample(request, AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
    } finally {
      await engine.dispose();
    }
  });
});
