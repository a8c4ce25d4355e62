// Agreement with transformers and torch: tools/parity/ppo.py writes the fixture.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Backend } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { loadModel } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import type { TrainingSequence } from './interfaces.ts';
import { LocalCritic } from './local-critic.ts';
import { LocalLearner } from './local-learner.ts';
import { LocalScorer } from './local-scorer.ts';
import { presets, stepAdvantages } from './objectives/index.ts';
import type { ValueLossSpec } from './score-learner.ts';
import { loadScorer } from './scorer-files.ts';
import { expectGradients, type GradientFacts } from './testing/gradient-facts.ts';
import { smallModel, testBackend, testFolders, weightsOf } from './testing/small-model.ts';

interface Step {
  readonly texts: number[][];
  readonly completionStarts: number[];
  readonly masks: number[][];
  readonly head: number[];
  readonly rewards: number[];
  readonly gamma: number;
  readonly lambda: number;
  readonly beta: number;
  readonly oldLogProbs: number[];
  readonly refLogProbs: number[];
  readonly values: number[];
  readonly logProbs: number[];
  readonly predicted: number[];
  readonly advantages: number[];
  readonly returns: number[];
  readonly policyLoss: number;
  readonly valueLoss: number;
  readonly policy: Record<string, GradientFacts>;
  readonly critic: Record<string, GradientFacts>;
}
const fixture = JSON.parse(
  readFileSync(fileURLToPath(new URL('../fixtures/ppo.json', import.meta.url)), 'utf8'),
) as { readonly clip: [number, number]; readonly clipValue: number; readonly step: Step };
const backbone = fileURLToPath(new URL('../../transformer/fixtures/gradients-v3-block/', import.meta.url));
const backend = await testBackend();
const newFolder = testFolders();
const exact = createReference({ bits: 64 });
const plain = { balanceAlpha: 0, biasUpdateGamma: 0 };
const spec: ValueLossSpec = { name: 'value', epsilon: 0.2, aggregation: 'dapo' };

/** Numbers of the tokens that count, in their places among the completion's; what stands beside them is far off. */
function inPlace(values: ArrayLike<number>, masks: readonly (readonly number[])[]): number[][] {
  let at = 0;
  return masks.map((mask) => mask.map((counts) => (counts ? (values[at++] as number) : 1e3)));
}

describe.each([
  ['reference in f64', exact, 1e-6],
  [backend.info.name, backend, 1e-5],
] as const)('one update of PPO beside torch, on %s', (_, on: Backend, tolerance) => {
  const { texts, completionStarts, masks, rewards, gamma, lambda, beta, ...step } = fixture.step;
  const lengths = masks.map((mask) => mask.reduce((a, b) => a + b));
  const totals = { sequences: texts.length, tokens: step.values.length };
  const config = {
    ...presets.ppo,
    ...{ rewardBeta: beta, advantage: { name: 'gae' as const, gamma, lambda } },
  };
  const { advantages, returns } = stepAdvantages(
    {
      table: { names: ['score'], rewards: [rewards], groupSize: 1 },
      ...{ lengths, logProbs: step.oldLogProbs, refLogProbs: step.refLogProbs, values: step.values },
    },
    config,
  );
  const columns = {
    advantages: inPlace(advantages, masks),
    oldLogProbs: inPlace(step.oldLogProbs, masks),
    values: inPlace(step.values, masks),
    returns: inPlace(returns as Float64Array, masks),
  };
  const sequences = texts.map(
    (tokens, i): TrainingSequence => ({
      ...{ tokens, completionStart: completionStarts[i] as number, mask: masks[i] as number[] },
      ...Object.fromEntries(Object.entries(columns).map(([name, rows]) => [name, rows[i] as number[]])),
    }),
  );
  const close = (actual: readonly number[], expected: readonly number[]) => {
    expect(actual.length).toBe(expected.length);
    const scale = Math.max(...expected.map(Math.abs));
    for (const [i, value] of actual.entries())
      expect(Math.abs(value - (expected[i] as number)) / scale).toBeLessThan(tolerance);
  };

  it('has the advantages and the returns', () => {
    for (const [actual, expected] of [
      [advantages, step.advantages],
      [returns as Float64Array, step.returns],
    ] as const)
      expect(Math.max(...expected.map((x, t) => Math.abs(x - (actual[t] as number))))).toBeLessThan(1e-12);
  });

  it('has the values, the loss and every gradient of the critic', async () => {
    const critic = new LocalCritic(await loadModel(backbone, { backend: on }), {
      ...plain,
      head: fixture.step.head,
    });
    const loss: ValueLossSpec = { name: 'value', epsilon: fixture.clipValue, aggregation: 'dapo' };
    const result = await critic.forwardBackward(sequences, loss, totals);
    expect(Math.abs(result.loss / step.valueLoss - 1)).toBeLessThan(tolerance);
    close(result.values.flat(), step.predicted);
    expect(await critic.values(sequences)).toEqual(result.values);
    await expectGradients(critic.parameters(), critic.model.config, step.critic, tolerance);
  });

  it('has the log-probabilities, the loss and every gradient of the policy', async () => {
    const learner = new LocalLearner(await loadModel(backbone, { backend: on }), plain);
    const [epsilonLow, epsilonHigh] = fixture.clip;
    const loss = { name: 'clip', ratio: 'token', epsilonLow, epsilonHigh } as const;
    const objective = { ...presets.ppo.objective, loss };
    const result = await learner.forwardBackward(
      sequences,
      { name: 'policy', objective, temperature: 1 },
      totals,
    );
    expect(Math.abs(result.loss - step.policyLoss)).toBeLessThan(tolerance);
    close(result.logProbs.flat(), step.logProbs);
    await expectGradients(learner.model.parameters(), learner.model.config, step.policy, tolerance);
  });
});

describe('LocalCritic', () => {
  const sequences: TrainingSequence[] = [
    { tokens: [1, 2, 3, 4], completionStart: 1, values: [0.5, 0, -0.5], returns: [1, 0.25, 2] },
    { tokens: [5, 6, 7], completionStart: 2, values: [1], returns: [-1] },
    { tokens: [8, 9, 10, 11, 12], completionStart: 2, values: [0, 0, 0], returns: [1, 1, 1] },
  ];
  const totals = { sequences: 3, tokens: 7 };

  it('begins as the policy with values of 0, and leaves the policy as it is', async () => {
    const policy = smallModel(backend);
    const before = await weightsOf(policy);
    const critic = await LocalCritic.of(policy);
    expect(await critic.values(sequences)).toEqual([[0, 0, 0], [0], [0, 0, 0]]);
    for (let step = 0; step < 3; step++) {
      await critic.forwardBackward(sequences, spec, totals);
      await critic.optimStep({ learningRate: 1e-2 });
    }
    expect((await critic.values(sequences)).flat().every((value) => value !== 0)).toBe(true);
    expect(await weightsOf(policy)).toEqual(before);
    expect([...critic.parameters().keys()].filter((name) => name.startsWith('lm_head'))).toEqual([]);
    await critic.dispose();
  });

  it('sees only what came before a token', async () => {
    const critic = new LocalCritic(smallModel(exact), { head: new Float32Array(16).fill(0.5) });
    const [whole] = await critic.values([{ tokens: [1, 2, 3, 4, 5], completionStart: 2 }]);
    const [other] = await critic.values([{ tokens: [1, 2, 3, 9, 8], completionStart: 2 }]);
    expect(other?.slice(0, 2)).toEqual(whole?.slice(0, 2));
    expect(other?.[2]).not.toBe(whole?.[2]);
    const scorer = new LocalScorer(smallModel(exact), { head: new Float32Array(16).fill(0.5) });
    expect(
      await scorer.score([
        [1, 2],
        [1, 2, 3],
        [1, 2, 3, 4],
      ]),
    ).toEqual(whole);
  });

  it('learns the returns', async () => {
    const critic = await LocalCritic.of(smallModel(backend));
    const free: ValueLossSpec = { ...spec, epsilon: null };
    const losses: number[] = [];
    for (let step = 0; step < 60; step++) {
      losses.push((await critic.forwardBackward(sequences, free, totals)).loss);
      await critic.optimStep({ learningRate: 1e-2 });
    }
    expect(losses.at(-1)).toBeLessThan((losses[0] as number) / 50);
  });

  it('adds micro-batches up to the whole step', async () => {
    for (const aggregation of ['dapo', 'grpo', 'seq-mean-token-sum', 'dr_grpo'] as const) {
      const [whole, apart] = [0, 1].map(
        () => new LocalCritic(smallModel(exact), { ...plain, head: new Float32Array(16).fill(0.1) }),
      ) as [LocalCritic, LocalCritic];
      const all = { ...totals, maxCompletionLength: 4 };
      const { loss } = await whole.forwardBackward(sequences, { ...spec, aggregation }, all);
      let sum = 0;
      for (const one of sequences)
        sum += (await apart.forwardBackward([one], { ...spec, aggregation }, all)).loss;
      expect(sum).toBeCloseTo(loss, 12);
      const [a, b] = [whole, apart].map((critic) => critic.optimStep({ learningRate: 1e-3 }));
      expect((await b)?.gradNorm).toBeCloseTo((await a)?.gradNorm as number, 10);
    }
  });

  it('continues from a saved state to the same bytes', async () => {
    const step = async (critic: LocalCritic) => {
      const { loss } = await critic.forwardBackward(sequences, spec, totals);
      return { loss, ...(await critic.optimStep({ learningRate: 1e-2 })) };
    };
    const folder = newFolder();
    const critic = await LocalCritic.of(smallModel(backend));
    await step(critic);
    await critic.saveState(folder);
    const expected = await step(critic);
    const resumed = await LocalCritic.of(smallModel(backend, { seed: 9 }));
    await resumed.forwardBackward(sequences, spec, totals);
    await resumed.loadState(folder);
    expect(await step(resumed)).toEqual(expected);
    expect(await resumed.values(sequences)).toEqual(await critic.values(sequences));
    const other = await LocalCritic.of(smallModel(backend, { vocabSize: 25 }));
    await expect(other.loadState(folder)).rejects.toThrow(/embed_tokens.*another model/);
  });

  it('is a scoring model to files, and may begin as one', async () => {
    const folder = newFolder();
    const scorer = new LocalScorer(smallModel(backend), { seed: 4 });
    await scorer.saveModel(folder, { dtype: 'f32' });
    const { model, head } = await loadScorer(folder, { backend });
    const critic = new LocalCritic(model, { head });
    expect(await critic.values([{ tokens: [1, 2, 3], completionStart: 2 }])).toEqual([
      await scorer.score([[1, 2]]),
    ]);
    const again = newFolder();
    await critic.saveModel(again, { dtype: 'f32' });
    expect((await loadScorer(again, { backend })).head).toEqual(head);
  });

  it('says what a loss lacks', async () => {
    const critic = await LocalCritic.of(smallModel(backend));
    const [one] = sequences as [TrainingSequence];
    const { returns: _, ...without } = one;
    await expect(critic.forwardBackward([without], spec, totals)).rejects.toThrow(/got no returns/);
    await expect(critic.forwardBackward([{ ...one, values: [1] }], spec, totals)).rejects.toThrow(
      /expected 3 values in sequence 0, got 1/,
    );
    expect(() => new LocalCritic(smallModel(backend), { head: [1] })).toThrow(/head of 16 numbers, got 1/);
    expect(await critic.values([])).toEqual([]);
  });
});
