// Memory over 10,000 training steps of a small model with every part (latent attention, experts, a shared expert,
// balance by bias), on the CPU kernels, with batches of four shapes: `pnpm test:slow`, a minute or two.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Random } from '@minke/core';
import { AdamW, Arena, crossEntropy, Muon, mean } from '@minke/tensor';
import { expect, test } from 'vitest';
import { DeepSeekModel } from './deepseek.ts';
import { readConfig } from './load.ts';
import { fastBackend as backend, fixtureFolder } from './testing/fixtures.ts';

/** Resident and heap size in MiB after a collection. */
function processSize(): { resident: number; heap: number } {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { rss, heapUsed } = process.memoryUsage();
  return { resident: rss / 2 ** 20, heap: heapUsed / 2 ** 20 };
}

test.each([
  ['AdamW', AdamW],
  ['Muon', Muon],
] as const)('10,000 training steps with %s learn, and hold memory flat', async (_, Optimizer) => {
  const config = await readConfig(fixtureFolder('v3-base'));
  const weights = new Arena(backend, { persistent: true });
  const arena = new Arena(backend, { grad: true });
  const model = DeepSeekModel.init({ ...config, initStd: 0.05 }, { arena: weights, seed: 1 });
  const trained = [...model.parameters()].filter(([, p]) => p.leaf !== null);
  const optimizer = new Optimizer(new Map(trained), { lr: 1e-3, weightDecay: 0.1, maxGradNorm: 1 });
  const random = new Random(2);
  const shapes = [
    [2, 16],
    [1, 7],
    [3, 10],
    [1, 24],
  ] as const;

  /** One step on sequences that count upwards from a random token. */
  function step(i: number): number {
    const [count, length] = shapes[i % shapes.length]!;
    const sequences = Array.from({ length: count }, () => {
      const first = random.integer(0, config.vocabSize);
      return Array.from({ length }, (_, t) => (first + t) % config.vocabSize);
    });
    const targets = sequences.flatMap((s) => s.map((id) => (id + 1) % config.vocabSize));
    const { logits, loads } = model.forward(model.batch(arena, sequences));
    const loss = mean(crossEntropy(logits, arena.tensor(targets, [targets.length], 'i32')));
    loss.backward();
    optimizer.step(arena);
    optimizer.zeroGrad(arena);
    model.updateBiases(loads, { gamma: 1e-3 });
    const value = loss.readSync()[0]!;
    arena.reset();
    return value;
  }

  const first = step(0);
  let last = first;
  for (let i = 1; i < 1000; i++) step(i);
  const held = backend.memoryUse();
  const before = processSize();
  for (let i = 1000; i < 11_000; i++) last = 0.99 * last + 0.01 * step(i);
  const after = processSize();
  console.log(
    `heap ${before.heap.toFixed(1)} to ${after.heap.toFixed(1)} MiB, resident ${before.resident.toFixed(0)} to ${after.resident.toFixed(0)} MiB, loss ${first.toFixed(2)} to ${last.toFixed(3)}`,
  );
  expect(backend.memoryUse()).toEqual(held);
  expect(after.heap - before.heap).toBeLessThan(4);
  expect(after.resident - before.resident).toBeLessThan(30);
  expect(last).toBeLessThan(0.3 * first);
  arena.dispose();
  weights.dispose();
});
