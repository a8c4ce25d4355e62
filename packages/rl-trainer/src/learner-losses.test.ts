import { createReference } from '@minke/gpu-backends/reference';
import { Arena, gatherRows } from '@minke/tensor';
import { expect, it } from 'vitest';
import type { TrainingSequence } from './interfaces.ts';
import { learnerLoss } from './learner-losses.ts';
import { packTrainingSequences } from './packed-sequences.ts';
import { smallModel, testBackend } from './testing/small-model.ts';

const native = await testBackend({ threads: 1 });
const sequences: TrainingSequence[] = [9, 6, 8, 5].map((length, salt) => ({
  tokens: Array.from({ length }, (_, i) => (5 + 7 * i + 3 * salt) % 24),
  completionStart: 1 + (salt % 3),
}));
const tokens = sequences.reduce((sum, s) => sum + s.tokens.length - s.completionStart, 0);

it.each([
  ['reference in f64', createReference({ bits: 64 }), 12],
  [native.info.name, native, 5],
] as const)(
  'gives cross-entropy in chunks the loss, the count and every gradient of the whole, on %s',
  async (_, backend, digits) => {
    const of = async (options: { chunkRows?: number }) => {
      const model = smallModel(backend);
      using arena = new Arena(backend, { grad: true });
      const pack = packTrainingSequences(sequences);
      const { hidden } = model.hidden(model.batch(arena, pack.sequences), { form: 'expanded' });
      const count = pack.targets.length;
      const inputs = {
        ...{ arena, pack, head: model.headWeight },
        hidden: gatherRows(hidden, arena.tensor(pack.supervisedRows, [count], 'i32')),
        targets: arena.tensor(pack.targets, [count], 'i32'),
      };
      const spec = { name: 'cross_entropy', outputs: 'sums' } as const;
      const { loss, correct } = learnerLoss(inputs, spec, { sequences: 4, tokens }, options);
      loss.backward();
      const gradients: number[] = [];
      for (const parameter of model.trainable().values())
        if (parameter.grad) gradients.push(...(await parameter.grad.read()));
      return { loss: (await loss.read())[0] as number, correct: await correct?.(), gradients };
    };
    const whole = await of({});
    expect(whole.gradients.some((value) => value !== 0)).toBe(true);
    for (const chunkRows of [1, 4, tokens - 1, tokens]) {
      const chunked = await of({ chunkRows });
      expect(chunked.loss).toBeCloseTo(whole.loss, digits);
      expect(chunked.correct).toBe(whole.correct);
      for (const [i, value] of whole.gradients.entries())
        expect(chunked.gradients[i]).toBeCloseTo(value, digits);
    }
  },
);
