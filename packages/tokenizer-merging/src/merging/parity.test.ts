// Agreement with PyTorch and with public formulas: tools/parity/merging.py writes the fixture, in float64.

import { readFileSync } from 'node:fs';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, add, gatherRows, mul, sum, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { testBackends } from '../testing/backends.ts';
import { Stack } from '../testing/stack.ts';
import {
  CausalConvolution,
  type MergeMix,
  type MergeRouter,
  makePlan,
  ratioLoss,
  SoftTokenMerger,
} from './index.ts';
import { smooth } from './smoothing.ts';

interface Values {
  shape: number[];
  data: number[];
}
interface Block {
  name: string;
  counts: number[];
  maxRun: number;
  mix: MergeMix;
  router: MergeRouter;
  smoothing: boolean;
  offsets: boolean;
  refine: boolean;
  protect: number[];
  aim: number;
  inputs: Record<string, Values>;
  boundary: number[];
  forced: number[];
  size: number[];
  probability: number[];
  entries: Values;
  output: Values;
  dy: Values;
  ratioLoss: number;
  grads: Record<string, Values>;
}
interface Convolution {
  kernel: number;
  counts: number[];
  inputs: { h: Values; weight: Values };
  output: Values;
  dy: Values;
  grads: { h: Values; weight: Values };
}
interface HNet {
  h: Values;
  probability: number[];
  boundary: number[];
  vectors: Values;
  smoothed: Values;
  dz: Values;
  dh: Values;
  dvectors: Values;
  losses: { aim: number; loss: number; grad: Values }[];
}
const fixture = JSON.parse(readFileSync(new URL('../../fixtures/merging.json', import.meta.url), 'utf8')) as {
  blocks: Block[];
  paced: Block[];
  hnet: HNet;
  convolutions: Convolution[];
};

function expectClose(
  actual: ArrayLike<number>,
  expected: readonly number[],
  tolerance: number,
  what = '',
): void {
  expect(actual.length, what).toBe(expected.length);
  const scale = Math.max(1e-3, ...expected.map(Math.abs));
  expected.forEach((value, i) => {
    const off = Math.abs((actual[i] as number) - value);
    expect(off, `${what} ${i}: ${actual[i]} for ${value}`).toBeLessThanOrEqual(tolerance * scale);
  });
}

describe.each(await testBackends())('on %s', (_, backend) => {
  const tolerance = backend.info.bits === 64 ? 1e-12 : 2e-5;

  it.each([...fixture.blocks, ...fixture.paced])(
    'computes and differentiates as PyTorch: $name',
    async (block) => {
      const { inputs, grads, maxRun, mix, router, smoothing, offsets, refine, protect, counts } = block;
      const D = (inputs.h as Values).shape[1] as number;
      const stack = new Stack(
        backend,
        { hiddenSize: D, maxRun, mix, router },
        { hiddenSize: D, smoothing, offsets, refine },
      );
      const parameters = new Map([...stack.parameters(), ['own', stack.own], ['earlier', stack.earlier]]);
      for (const [name, parameter] of parameters) parameter.write((inputs[name] as Values).data);
      const owner = new Arena(backend, { persistent: true });
      const h = owner.parameter((inputs.h as Values).data, (inputs.h as Values).shape);
      using arena = new Arena(backend, { grad: true });
      const { output, entries, plan } = await stack.forward(arena.adopt(h), { counts, protect });
      expect(Array.from(plan.boundary)).toEqual(block.boundary);
      expect(Array.from(plan.forced)).toEqual(block.forced);
      expect(Array.from(plan.size)).toEqual(block.size);
      expectClose(plan.probabilities as ArrayLike<number>, block.probability, tolerance, 'probability');
      expectClose(await entries.read(), block.entries.data, tolerance, 'entries');
      expectClose(await output.read(), block.output.data, tolerance, 'output');
      const ratio = ratioLoss(plan, block.aim);
      expectClose(await ratio.read(), [block.ratioLoss], tolerance, 'ratio loss');
      const main = sum(mul(output, arena.tensor(block.dy.data, block.dy.shape)));
      add(main, mul(ratio, 0.3)).backward();
      for (const [name, leaf] of [...parameters, ['h', h] as const])
        expectClose(
          leaf.grad ? await leaf.grad.read() : new Float32Array(leaf.size),
          (grads[name] as Values).data,
          10 * tolerance,
          `gradient of ${name}`,
        );
      owner.dispose();
    },
  );

  it.each(fixture.convolutions)('convolves as PyTorch, over $kernel tokens', async (found) => {
    const { kernel, counts, inputs, output, dy, grads } = found;
    const owner = new Arena(backend, { persistent: true });
    const [h, weight] = [inputs.h, inputs.weight].map(({ data, shape }) => owner.parameter(data, shape)) as [
      Tensor,
      Tensor,
    ];
    const hiddenSize = h.shape[1] as number;
    const convolution = new CausalConvolution({ hiddenSize, kernel }, new Map([['weight', weight]]));
    using arena = new Arena(backend, { grad: true });
    const y = convolution.forward(arena.adopt(h), { counts });
    expectClose(await y.read(), output.data, tolerance);
    sum(mul(y, arena.tensor(dy.data, dy.shape))).backward();
    expectClose(await (h.grad as Tensor).read(), grads.h.data, 10 * tolerance);
    expectClose(await (weight.grad as Tensor).read(), grads.weight.data, 10 * tolerance);
    owner.dispose();
  });

  it("routes, smooths and steers by H-Net's formulas", async () => {
    const { h, probability, boundary, vectors, smoothed, dz, dh, dvectors, losses } = fixture.hnet;
    const owner = new Arena(backend, { persistent: true });
    const x = owner.parameter(h.data, h.shape);
    const v = owner.parameter(vectors.data, vectors.shape);
    const merger = SoftTokenMerger.init(
      { hiddenSize: h.shape[1] as number, maxRun: 99, mix: 'select' },
      { arena: owner },
    );
    using arena = new Arena(backend, { grad: true });
    const { plan } = await merger.forward(arena.adopt(x));
    expect(Array.from(plan.boundary)).toEqual(boundary);
    expectClose(
      Array.from(plan.probabilities as ArrayLike<number>).slice(1),
      probability.slice(1),
      tolerance,
    );
    const chain = Array.from(plan.entryRow, (__, k) => Number(k === 0));
    const p = plan.probability as Tensor;
    const kept = p.reshape([-1, 1]);
    const rows = arena.tensor(plan.entryRow, [plan.entryRow.length], 'i32');
    const z = smooth(arena.adopt(v), gatherRows(kept, rows), chain);
    expectClose(await z.read(), smoothed.data, tolerance);
    sum(mul(z, arena.tensor(dz.data, dz.shape))).backward();
    expectClose(await (x.grad as Tensor).read(), dh.data, 10 * tolerance);
    expectClose(await (v.grad as Tensor).read(), dvectors.data, 10 * tolerance);
    for (const { aim, loss, grad } of losses) {
      x.grad?.write(new Float32Array(x.size));
      const ratio = ratioLoss(plan, aim);
      expectClose(await ratio.read(), [loss], tolerance);
      ratio.backward();
      expectClose(await (x.grad as Tensor).read(), grad.data, 10 * tolerance);
    }
    owner.dispose();
  });
});

it('has a ratio loss of 1 at the aim, of N where every token is a boundary, of N / (N - 1) where none is', async () => {
  const backend = createReference({ bits: 64 });
  using arena = new Arena(backend);
  const at = async (probabilities: number[], N: number) => {
    const T = probabilities.length;
    const plan = makePlan({
      counts: [T],
      threshold: 0.5,
      maxRun: 99,
      probabilities,
      probability: arena.tensor(probabilities, [T]),
    });
    return (await ratioLoss(plan, N).read())[0];
  };
  expect(await at([0.5, 1, 0, 0, 0], 4)).toBeCloseTo(1, 6);
  expect(await at([0.5, 1, 1, 1, 1], 4)).toBeCloseTo(4, 6);
  expect(await at([0.5, 0, 0, 0, 0], 4)).toBeCloseTo(4 / 3, 6);
});
