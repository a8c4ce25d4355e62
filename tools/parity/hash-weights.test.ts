import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { hashWeights } from '../../packages/transformer/fixtures/hash-weights.ts';

const fixture = new URL('../../packages/transformer/fixtures/gradients-5m/gradients.json', import.meta.url);

it('computes the weights that the Python generator used', () => {
  const { weights } = JSON.parse(readFileSync(fixture, 'utf8')) as { weights: Record<string, number[]> };
  const names = Object.keys(weights);
  expect(names).toHaveLength(205);
  for (const name of names) expect([...hashWeights(name, 4)]).toEqual(weights[name]);
});

it('keeps each kind of tensor within its range', () => {
  const range = (name: string) => {
    const values = hashWeights(name, 100_000);
    return [Math.min(...values), Math.max(...values)].map((value) => Number(value.toFixed(3)));
  };
  expect(range('model.norm.weight')).toEqual([0.5, 1.5]);
  expect(range('model.layers.1.mlp.gate.e_score_correction_bias')).toEqual([-0.062, 0.062]);
  expect(range('lm_head.weight')).toEqual([-0.125, 0.125]);
});
