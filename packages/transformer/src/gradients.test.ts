import { existsSync, readFileSync } from 'node:fs';
import { openSafetensors } from '@minke/checkpoints';
import type { Backend } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, affine, crossEntropy, sum, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { hashWeights } from '../fixtures/hash-weights.ts';
import { DeepSeekModel } from './deepseek.ts';
import { loadModel, readConfig } from './load.ts';
import { parameterShapes, publishedTensors } from './names.ts';
import { distance, fastBackend, fixtureFolder, readExpected } from './testing/fixtures.ts';

const tolerance = 1e-4;

/** The model of a fixture: from its weights, or from weights computed from their names. */
async function modelOf(name: string, backend: Backend): Promise<DeepSeekModel> {
  const folder = fixtureFolder(name);
  if (existsSync(`${folder}/model.safetensors`)) return loadModel(folder, { backend });
  const config = await readConfig(folder);
  const arena = new Arena(backend, { persistent: true });
  const parameters = new Map<string, Tensor>();
  for (const [key, shape] of parameterShapes(config)) {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (const { name, shape: part, target } of publishedTensors(config)) {
      if (target.name !== key) continue;
      const count = part.reduce((a, b) => a * b, 1);
      data.set(hashWeights(name, count), (target.expert ?? 0) * count);
    }
    parameters.set(
      key,
      key.endsWith('correction_bias') ? arena.tensor(data, shape) : arena.parameter(data, shape),
    );
  }
  return new DeepSeekModel(config, parameters);
}

const norm = (values: ArrayLike<number>) =>
  Math.sqrt(Array.from(values).reduce((total, v) => total + v * v, 0));

describe.each([
  ['gradients-v3-block', createReference()],
  ['gradients-v3-block', fastBackend],
  ['gradients-5m', fastBackend],
  ['dense-qwen2', createReference()],
  ['dense-qwen2', fastBackend],
] as const)("gradients of %s against PyTorch's", (name, backend) => {
  it(`agree for every parameter by name, on ${backend.info.name}`, async () => {
    const model = await modelOf(name, backend);
    const expected = await readExpected(name, 'gradients.safetensors');
    const facts = JSON.parse(readFileSync(`${fixtureFolder(name)}/gradients.json`, 'utf8')) as {
      loss: number;
      norms: Record<string, number>;
    };
    using arena = new Arena(backend, { grad: true });
    const { logits } = model.forward(model.batch(arena, expected.sequences));
    expect(distance(logits.readSync(), expected.logits)).toBeLessThan(1e-4);
    const targets = expected.sequences.flatMap((sequence) => [...sequence.slice(1), -1]);
    const losses = crossEntropy(logits, arena.tensor(targets, [targets.length], 'i32'));
    const loss = affine(sum(losses), 1 / targets.filter((id) => id >= 0).length, 0);
    expect(loss.readSync()[0]).toBeCloseTo(facts.loss, 5);
    loss.backward();

    const file = await openSafetensors(`${fixtureFolder(name)}/gradients.safetensors`);
    const parameters = model.parameters();
    const compared = new Set<string>();
    let worst = { parameter: '', by: 0 };
    for (const { name: parameter, shape, target } of publishedTensors(model.config)) {
      if (!(parameter in facts.norms)) continue;
      const gradient = parameters.get(target.name)!.grad;
      expect(gradient, parameter).not.toBeNull();
      const count = shape.reduce((a, b) => a * b, 1);
      const start = (target.expert ?? 0) * count;
      const values = gradient!.readSync().slice(start, start + count);
      const index = (await file.readTyped(`${parameter}#index`)) as Int32Array;
      const entries = await file.readFloat32(`${parameter}#value`);
      const difference = Array.from(index, (at, i) => values[at]! - entries[i]!);
      const byEntries = norm(difference) / norm(entries);
      const byNorm = Math.abs(norm(values) / facts.norms[parameter]! - 1);
      const by = Math.max(byEntries, byNorm);
      if (by > worst.by) worst = { parameter, by };
      expect(by, parameter).toBeLessThanOrEqual(tolerance);
      compared.add(parameter);
    }
    await file.close();
    console.log(
      `${name} on ${backend.info.name}: ${compared.size} parameters, worst ${worst.parameter} ${worst.by.toExponential(1)}`,
    );
    expect([...compared].sort()).toEqual(Object.keys(facts.norms).sort());
  });
});
