import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { expect, test } from 'vitest';
import {
  AdamW,
  Arena,
  addParameters,
  crossEntropy,
  Linear,
  mean,
  RmsNorm,
  swiglu,
  type Tensor,
} from './index.ts';

/** Resident and heap size in MiB after a collection: garbage that is not yet collected is no leak. */
function processSize(): { resident: number; heap: number } {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { rss, heapUsed } = process.memoryUsage();
  return { resident: rss / 2 ** 20, heap: heapUsed / 2 ** 20 };
}

/** A small classifier and its training step, on fresh random batches. */
function trainer(seed: number) {
  const backend = createReference();
  const owner = new Arena(backend, { persistent: true });
  const arena = new Arena(backend, { grad: true });
  const random = new Random(seed);
  const norm = RmsNorm.init(owner, 8);
  const gate = Linear.init(owner, random, 8, 16);
  const up = Linear.init(owner, random, 8, 16);
  const head = Linear.init(owner, random, 16, 4, { bias: true });
  const parameters = new Map<string, Tensor>();
  for (const [name, part] of Object.entries({ norm, gate, up, head })) addParameters(parameters, name, part);
  const optimizer = new AdamW(parameters, { lr: 1e-2, weightDecay: 0.01, maxGradNorm: 1 });
  const step = (rows: number): number => {
    const data = Float32Array.from({ length: rows * 8 }, () => random.normal());
    // The class is the largest of the first four numbers.
    const targets = Int32Array.from({ length: rows }, (_, n) => {
      const row = Array.from(data.subarray(n * 8, n * 8 + 4));
      return row.indexOf(Math.max(...row));
    });
    const x = norm.forward(arena.tensor(data, [rows, 8]));
    const loss = mean(
      crossEntropy(
        head.forward(swiglu(gate.forward(x), up.forward(x))),
        arena.tensor(targets, [rows], 'i32'),
      ),
    );
    loss.backward();
    optimizer.step(arena);
    optimizer.zeroGrad(arena);
    const value = loss.readSync()[0]!;
    arena.reset();
    return value;
  };
  return { backend, parameters, step };
}

test('1,000 training steps learn, and hold backend memory and resident size flat', () => {
  const { backend, step } = trainer(1);
  const first = step(32);
  for (let i = 0; i < 199; i++) step(32);
  const { bytes, buffers } = backend.memoryUse();
  const before = processSize();
  let last = 0;
  for (let i = 0; i < 1000; i++) {
    const loss = step(32);
    last = i === 0 ? loss : 0.95 * last + 0.05 * loss;
  }
  expect(backend.memoryUse()).toEqual({ bytes, buffers });
  const after = processSize();
  expect(after.heap - before.heap, `heap ${before.heap} to ${after.heap} MiB`).toBeLessThan(2);
  expect(
    after.resident - before.resident,
    `resident ${before.resident} to ${after.resident} MiB`,
  ).toBeLessThan(30);
  expect(last).toBeLessThan(0.3 * first);
});

test('memory stays bounded when the batch size varies', () => {
  const { backend, step } = trainer(2);
  step(64);
  const { bytes } = backend.memoryUse();
  const random = new Random(3);
  for (let i = 0; i < 200; i++) step(random.integer(1, 65));
  expect(backend.memoryUse().bytes).toBeLessThan(2.5 * bytes);
});

test('two runs with one seed give the same numbers bit for bit', () => {
  const runs = [trainer(5), trainer(5)].map(({ step, parameters }) => ({
    losses: Array.from({ length: 20 }, () => step(16)),
    parameters: [...parameters].map(([name, t]) => [name, Array.from(t.readSync())]),
  }));
  expect(runs[0]).toEqual(runs[1]);
});
