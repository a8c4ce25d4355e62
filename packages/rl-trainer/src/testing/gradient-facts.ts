/** Gradients of a model in training beside those of a parity fixture, by published parameter names. */
import type { Tensor } from '@minke/tensor';
import { type ModelConfig, publishedTensors } from '@minke/transformer';
import { expect } from 'vitest';

/** What a fixture says of one parameter's gradient. */
export interface GradientFacts {
  readonly norm: number;
  /** Flat row-major entries, and the gradient there. */
  readonly index: readonly number[];
  readonly value: readonly number[];
}

const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((a, v) => a + v * v, 0));

/**
 * Expects the gradients that the fixture has, all of them and no others, within a relative tolerance.
 * @param parameters what is trained, by our names, of a model of this shape
 */
export async function expectGradients(
  parameters: ReadonlyMap<string, Tensor>,
  config: ModelConfig,
  expected: Readonly<Record<string, GradientFacts>>,
  tolerance: number,
): Promise<void> {
  const parts = publishedTensors(config).filter(
    ({ name, target }) => !name.endsWith('correction_bias') && parameters.has(target.name),
  );
  const head = parameters.get('score.weight');
  const all = [
    ...parts,
    ...(head === undefined
      ? []
      : [{ name: 'score.weight', shape: head.shape, target: { name: 'score.weight' } }]),
  ];
  // Gradients that nearly cancel are judged beside the whole model's.
  const floor = 1e-2 * norm(Object.values(expected).map((facts) => facts.norm));
  const compared: string[] = [];
  for (const { name, shape, target } of all) {
    const count = shape.reduce((a, b) => a * b, 1);
    const start = ('expert' in target ? (target.expert ?? 0) : 0) * count;
    const whole = await (parameters.get(target.name) as Tensor).grad?.read();
    const gradient = (whole as Float32Array | Float64Array).slice(start, start + count);
    const facts = expected[name] as GradientFacts;
    const difference = facts.index.map((at, i) => (gradient[at] as number) - (facts.value[i] as number));
    expect(norm(difference), name).toBeLessThanOrEqual(tolerance * (norm(facts.value) + floor));
    expect(Math.abs(norm(gradient) - facts.norm), name).toBeLessThanOrEqual(tolerance * (facts.norm + floor));
    compared.push(name);
  }
  expect(compared.sort()).toEqual(Object.keys(expected).sort());
}
