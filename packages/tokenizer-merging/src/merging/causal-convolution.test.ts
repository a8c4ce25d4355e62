// What a convolution is at first, and what it refuses; its numbers are in parity, merging and gradients.
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { expect, it } from 'vitest';
import { normals } from '../testing/numbers.ts';
import { CausalConvolution, SoftTokenMerger } from './index.ts';

const backend = createReference();
const D = 3;
const numbers = normals(5 * D, 1);
const merger = SoftTokenMerger.init({ hiddenSize: D }, { backend });

it('passes tokens as they are at first, with the number 1 for itself twice them', async () => {
  const convolution = CausalConvolution.init({ hiddenSize: D, kernel: 4 }, { backend });
  using arena = new Arena(backend);
  const h = arena.tensor(numbers, [5, D]);
  expect(Array.from(await convolution.forward(h).read())).toEqual(Array.from(await h.read()));
  convolution
    .parameters()
    .get('weight')
    ?.write([1, 1, 1, ...new Array<number>(9).fill(0)]);
  const doubled = Array.from(await h.read(), (x) => 2 * x);
  expect(Array.from(await convolution.forward(h).read())).toEqual(doubled);
});

it.each([
  [{ hiddenSize: D, kernel: 1 }],
  [{ hiddenSize: D, kernel: 2.5 }],
  [{ hiddenSize: 0, kernel: 4 }],
  [{ hiddenSize: Number.NaN, kernel: 4 }],
])('refuses the settings %o', (config) => {
  const message = new RegExp(`kernel of 2 or more, got ${config.hiddenSize} and ${config.kernel}`);
  expect(() => CausalConvolution.init(config, { backend })).toThrow(message);
  expect(() => new CausalConvolution(config, new Map())).toThrow(message);
});

it('refuses weights of another shape, a state for another kernel, and gradients beside a state', () => {
  const config = { hiddenSize: D, kernel: 4 };
  const convolution = CausalConvolution.init(config, { backend });
  const other = CausalConvolution.init({ hiddenSize: D, kernel: 3 }, { backend }).parameters();
  expect(() => new CausalConvolution(config, other)).toThrow(/weight \[4, 3\], got \[3, 3\]/);
  expect(() => new CausalConvolution(config, new Map())).toThrow(/weight \[4, 3\], got none/);
  using plain = merger.createState({ backend });
  using state = merger.createState({ backend, kernel: 4 });
  using arena = new Arena(backend, { grad: true });
  const h = arena.tensor(numbers, [5, D]);
  expect(() => convolution.forward(h, { state: plain })).toThrow(/kernel of 4, got one for 1/);
  expect(() => convolution.forward(h, { state })).toThrow(/an arena without gradients beside a state/);
  expect(() => convolution.forward(h, { counts: [2, 2] })).toThrow(/tokens of counts 2 \+ 2/);
  using saved = plain.clone();
  expect(() => state.restore(saved)).toThrow(/kernel of 4, got 1, 3, 8 and 1/);
  expect(() => merger.createState({ backend, kernel: 0 })).toThrow(
    /kernel a whole number of 1 or more, got 0/,
  );
});
