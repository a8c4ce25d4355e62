import { openSafetensors } from '@minke/checkpoints';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import type { DeepSeekModel, ModelBatch } from './deepseek.ts';
import { loadModel } from './load.ts';
import { distance, fixtureFolder, readExpected } from './testing/fixtures.ts';

const backend = createReference();

/** Token ids `places` ahead within each sequence, -1 where there is none. */
const ahead = (sequences: readonly (readonly number[])[], places: number) =>
  sequences.flatMap((sequence) => sequence.map((_, i) => sequence[i + places] ?? -1));

function predict(model: DeepSeekModel, arena: Arena, sequences: readonly (readonly number[])[]) {
  const batch = model.batch(arena, sequences);
  const { logits, hidden } = model.forward(batch);
  const predictions: Tensor[] = [];
  let state = hidden;
  for (let depth = 0; depth < model.mtp.length; depth++) {
    const ids = ahead(sequences, depth + 1);
    const shifted: ModelBatch = { ...batch, ids: arena.tensor(ids, [ids.length], 'i32') };
    const predicted = model.predictAhead(depth, state, shifted);
    predictions.push(predicted.logits);
    state = predicted.hidden;
  }
  return { batch, logits, hidden, predictions };
}

describe('multi-token prediction', () => {
  it("gives transformers' logits for the main model and every depth", async () => {
    const model = await loadModel(fixtureFolder('mtp-v3'), { backend });
    const { sequences, logits } = await readExpected('mtp-v3');
    const file = await openSafetensors(`${fixtureFolder('mtp-v3')}/expected.safetensors`);
    using arena = new Arena(backend);
    const result = predict(model, arena, sequences);
    expect(distance(result.logits.readSync(), logits)).toBeLessThan(1e-4);
    expect(model.mtp).toHaveLength(2);
    for (let depth = 0; depth < 2; depth++) {
      const expected = await file.readFloat32(`mtp.${depth}`);
      const got = result.predictions[depth]!.readSync();
      const { vocabSize } = model.config;
      const rows = 31 - depth;
      const compared = [0, 1].flatMap((s) => [...got.slice(s * 32 * vocabSize, (s * 32 + rows) * vocabSize)]);
      const worst = distance(compared, expected);
      console.log(`depth ${depth}: ${worst.toExponential(1)}`);
      expect(worst).toBeLessThan(1e-4);
    }
    await file.close();
  });

  it('notices a projection whose halves are swapped', async () => {
    const model = await loadModel(fixtureFolder('mtp-v3'), { backend });
    const { sequences } = await readExpected('mtp-v3');
    using arena = new Arena(backend);
    const before = predict(model, arena, sequences).predictions[0]!.readSync();
    const projection = model.parameters().get('model.layers.2.eh_proj.weight')!;
    const width = model.config.hiddenSize;
    const values = Array.from(projection.readSync());
    projection.write(values.map((_, i) => values[i % (2 * width) < width ? i + width : i - width]!));
    expect(distance(predict(model, arena, sequences).predictions[0]!.readSync(), before)).toBeGreaterThan(
      1e-1,
    );
  });

  it('has a loss that is the weighted mean of the cross-entropies, and gradients for its every parameter', async () => {
    const model = await loadModel(fixtureFolder('mtp-v3'), { backend });
    const sequences = (await readExpected('mtp-v3')).sequences.map((sequence) => sequence.slice(0, 12));
    using arena = new Arena(backend, { grad: true });
    const { batch, hidden, predictions } = predict(model, arena, sequences);
    const loss = model.mtpLoss(hidden, batch, sequences, { weight: 0.3 });
    let expected = 0;
    predictions.forEach((logits, depth) => {
      const { vocabSize } = model.config;
      const rows = logits.readSync();
      const targets = ahead(sequences, depth + 2);
      const losses = targets.flatMap((target, n) => {
        if (target < 0) return [];
        const row = Array.from(rows.slice(n * vocabSize, (n + 1) * vocabSize));
        return [Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[target]!];
      });
      expected += (0.3 / 2) * (losses.reduce((a, b) => a + b) / losses.length);
    });
    expect(loss.readSync()[0]).toBeCloseTo(expected, 5);
    loss.backward();
    for (const [name, parameter] of model.parameters()) {
      if (!/layers\.[23]\./.test(name) || name.endsWith('correction_bias')) continue;
      const size = Math.hypot(...(parameter.grad?.readSync() ?? []));
      expect(size, name).toBeGreaterThan(0);
    }
  });
});
