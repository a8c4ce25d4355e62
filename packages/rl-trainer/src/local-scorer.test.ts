// Agreement with transformers and TRL: tools/parity/scores.py writes the fixture.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Backend } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { loadModel } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import { LocalScorer } from './local-scorer.ts';
import type { ScoreLossSpec, ScoreSequence } from './score-learner.ts';
import { loadScorer } from './scorer-files.ts';
import { expectGradients, type GradientFacts } from './testing/gradient-facts.ts';
import { smallModel, testBackend, testFolders } from './testing/small-model.ts';

interface Case {
  readonly loss: number;
  readonly scores: readonly number[];
  readonly gradients: Record<string, GradientFacts>;
}
const fixture = JSON.parse(
  readFileSync(fileURLToPath(new URL('../fixtures/scores.json', import.meta.url)), 'utf8'),
) as {
  readonly texts: number[][];
  readonly head: number[];
  readonly margins: number[];
  readonly labels: number[];
  readonly centering: number;
  readonly cases: { readonly bradley_terry: Case; readonly pointwise: Case };
};
const backbone = fileURLToPath(new URL('../../transformer/fixtures/gradients-v3-block/', import.meta.url));
const backend = await testBackend();
const newFolder = testFolders();
const exact = createReference({ bits: 64 });
const plain = { balanceAlpha: 0, biasUpdateGamma: 0 };
const pairs: ScoreSequence[] = fixture.texts.map((tokens, i) => ({
  tokens,
  ...(i % 2 === 0 && { margin: fixture.margins[i / 2]! }),
}));
const labelled: ScoreSequence[] = fixture.texts.map((tokens, i) => ({ tokens, label: fixture.labels[i]! }));
const losses = [
  ['bradley_terry', { name: 'bradley_terry', centering: fixture.centering }, pairs],
  ['pointwise', { name: 'pointwise' }, labelled],
] as const satisfies readonly (readonly [keyof typeof fixture.cases, ScoreLossSpec, ScoreSequence[]])[];

describe.each([
  ['reference in f64', exact, 1e-6],
  [backend.info.name, backend, 1e-4],
] as const)('LocalScorer beside transformers, on %s', (_, on: Backend, tolerance) => {
  it.each(losses)('has the scores, the loss and every gradient of %s', async (name, spec, sequences) => {
    const scorer = new LocalScorer(await loadModel(backbone, { backend: on }), {
      ...plain,
      head: fixture.head,
    });
    const expected = fixture.cases[name];
    const result = await scorer.forwardBackward(sequences, spec, { sequences: sequences.length });
    expect(Math.abs(result.loss / expected.loss - 1)).toBeLessThan(tolerance);
    const scale = Math.max(...expected.scores.map(Math.abs));
    for (const [i, score] of result.scores.entries())
      expect(Math.abs(score - expected.scores[i]!) / scale).toBeLessThan(tolerance);
    expect(await scorer.score(fixture.texts)).toEqual(result.scores);

    await expectGradients(scorer.parameters(), scorer.model.config, expected.gradients, tolerance);
  });
});

describe('LocalScorer', () => {
  it('has the gradient that finite differences give', async () => {
    const sequences: ScoreSequence[] = [[3, 4, 5], [6, 7], [9, 2, 8, 1], [5]].map((tokens) => ({ tokens }));
    const spec: ScoreLossSpec = { name: 'bradley_terry', centering: 0.1 };
    const totals = { sequences: 4 };
    const scorer = new LocalScorer(smallModel(exact), { ...plain, seed: 2 });
    await scorer.forwardBackward(sequences, spec, totals);
    const names = ['score.weight', 'model.norm.weight', 'model.layers.0.mlp.down_proj.weight'];
    // All before the differences, whose passes add to them.
    const gradients = await Promise.all(
      names.map(async (name) => Float64Array.from(await scorer.parameters().get(name)!.grad!.read())),
    );
    for (const [n, name] of names.entries()) {
      const parameter = scorer.parameters().get(name)!;
      const gradient = gradients[n]!;
      const values = Float64Array.from(await parameter.read());
      for (const at of [0, 5, 11]) {
        const lossAt = async (by: number) => {
          const moved = values.slice();
          moved[at]! += by;
          parameter.write(moved);
          return (await scorer.forwardBackward(sequences, spec, totals)).loss;
        };
        const analytic = gradient[at]!;
        const numeric = ((await lossAt(1e-5)) - (await lossAt(-1e-5))) / 2e-5;
        parameter.write(values);
        expect(Math.abs(analytic - numeric), `${name} ${at}`).toBeLessThan(
          1e-6 * Math.max(1, Math.abs(numeric)),
        );
      }
    }
  });

  it('adds micro-batches up to the whole step', async () => {
    const [whole, apart] = [0, 1].map(() => new LocalScorer(smallModel(exact), { balanceAlpha: 1e-2 })) as [
      LocalScorer,
      LocalScorer,
    ];
    for (const [, spec, sequences] of losses) {
      const short = sequences.map((s) => ({ ...s, tokens: s.tokens.map((id) => id % 24) }));
      const { loss } = await whole.forwardBackward(short, spec, { sequences: 6 });
      let sum = 0;
      for (let i = 0; i < 6; i += 2)
        sum += (await apart.forwardBackward(short.slice(i, i + 2), spec, { sequences: 6 })).loss;
      expect(sum).toBeCloseTo(loss, 12);
    }
    const [a, b] = [
      await whole.optimStep({ learningRate: 1e-3 }),
      await apart.optimStep({ learningRate: 1e-3 }),
    ];
    expect(b.gradNorm).toBeCloseTo(a.gradNorm, 10);
    expect(b.metrics).toEqual(a.metrics);
  });

  it('continues from a saved state to the same bytes, and refuses one of another model or settings', async () => {
    const spec: ScoreLossSpec = { name: 'pointwise' };
    const batch = [
      { tokens: [1, 2, 3], label: 1 },
      { tokens: [4, 5], label: 0 },
    ];
    const step = async (scorer: LocalScorer) => {
      const { loss } = await scorer.forwardBackward(batch, spec, { sequences: 2 });
      return { loss, ...(await scorer.optimStep({ learningRate: 1e-2 })) };
    };
    const folder = newFolder();
    const scorer = new LocalScorer(smallModel(backend));
    await step(scorer);
    await scorer.saveState(folder);
    const expected = await step(scorer);
    const resumed = new LocalScorer(smallModel(backend, { seed: 9 }), { seed: 9 });
    // What was added before the state came is forgotten.
    await resumed.forwardBackward(batch, spec, { sequences: 2 });
    await resumed.loadState(folder);
    expect(await step(resumed)).toEqual(expected);
    expect(await resumed.score([[7, 8]])).toEqual(await scorer.score([[7, 8]]));

    const other = new LocalScorer(smallModel(backend, { vocabSize: 25 }));
    await expect(other.loadState(folder)).rejects.toThrow(/embed_tokens.*another model/);
    const settings = new LocalScorer(smallModel(backend), { beta1: 0.5 });
    await expect(settings.loadState(folder)).rejects.toThrow(/settings/);
    await expect(scorer.loadState(newFolder())).rejects.toThrow(/expected a state/);
  });

  it('comes back from its folder with the same scores, and from nothing else', async () => {
    const folder = newFolder();
    const scorer = new LocalScorer(smallModel(backend), { seed: 4 });
    await scorer.saveModel(folder, { dtype: 'f32' });
    const { model, head } = await loadScorer(folder, { backend });
    const texts = [[1, 2, 3], [4]];
    expect(await new LocalScorer(model, { head }).score(texts)).toEqual(await scorer.score(texts));
    await expect(loadScorer(backbone, { backend })).rejects.toThrow(
      /expected score.weight \[1, 52\].*got none/,
    );
  });

  it('says what a loss lacks', async () => {
    const scorer = new LocalScorer(smallModel(backend));
    const [a, b] = [{ tokens: [1] }, { tokens: [2, 3] }];
    const pair: ScoreLossSpec = { name: 'bradley_terry', centering: 0 };
    await expect(scorer.forwardBackward([a, b, a], pair, { sequences: 4 })).rejects.toThrow(
      /pairs of sequences.*got 3/,
    );
    await expect(scorer.forwardBackward([a], { name: 'pointwise' }, { sequences: 1 })).rejects.toThrow(
      /label.*sequence 0/,
    );
    await expect(scorer.score([[1], []])).rejects.toThrow(/sequence 1, got none/);
    expect(() => new LocalScorer(smallModel(backend), { head: [1] })).toThrow(/head of 16 numbers, got 1/);
    expect(await scorer.score([])).toEqual([]);
  });
});
