// Agreement with PyTorch: tools/parity/tensor.py writes the fixture, in float64.
import { readFileSync } from 'node:fs';
import type { Backend, OpName } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { describe, expect, test } from 'vitest';
import {
  AdamW,
  Arena,
  crossEntropy,
  logSoftmax,
  Muon,
  type MuonOptions,
  mul,
  rmsNorm,
  softmax,
  sum,
  swiglu,
  type Tensor,
} from './index.ts';

interface Values {
  shape: number[];
  data: number[];
}
interface OpCase {
  inputs: Values[];
  y: Values;
  dy: Values;
  grads: Values[];
}
interface AdamWCase {
  options: {
    lr: number;
    beta1: number;
    beta2: number;
    eps: number;
    weightDecay: number;
    maxGradNorm: number;
  };
  start: Record<string, Values>;
  steps: { lr: number; grads: Record<string, Values>; norm: number; parameters: Record<string, Values> }[];
}
interface MuonCase extends Omit<AdamWCase, 'options'> {
  options: MuonOptions;
}
interface Fixture {
  softmax: OpCase;
  logSoftmax: OpCase;
  swiglu: OpCase;
  rmsNorm: OpCase & { eps: number };
  crossEntropy: OpCase & { targets: number[] };
  adamW: AdamWCase;
  muon: MuonCase;
}
const fixture = JSON.parse(
  readFileSync(new URL('../fixtures/pytorch.json', import.meta.url), 'utf8'),
) as Fixture;

function expectClose(actual: ArrayLike<number>, expected: readonly number[], tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  const scale = Math.max(...expected.map(Math.abs));
  expected.forEach((value, i) => {
    expect(Math.abs(actual[i]! - value), `${i}: ${actual[i]} for ${value}`).toBeLessThanOrEqual(
      tolerance * scale,
    );
  });
}

/** The reference backend, or one that says it lacks every fused kernel. */
function backends(): [string, Backend, number][] {
  const fused: readonly OpName[] = [
    'softmax',
    'rmsNorm',
    'swiglu',
    'crossEntropy',
    'adamW',
    'sumSquares',
    'blend',
    'muonDirection',
  ];
  const composed = (inner: Backend): Backend => ({ ...inner, supports: (op) => !fused.includes(op) });
  return [
    ['fused in f64', createReference({ bits: 64 }), 1e-13],
    ['fused in f32', createReference(), 2e-6],
    ['composed in f64', composed(createReference({ bits: 64 })), 1e-13],
    ['composed in f32', composed(createReference()), 4e-6],
  ];
}

describe.each(backends())('as PyTorch, %s', (_, backend, tolerance) => {
  const owner = new Arena(backend, { persistent: true });
  const arena = new Arena(backend, { grad: true });
  const { rmsNorm: norm, crossEntropy: loss } = fixture;
  const cases: [string, OpCase, (...xs: Tensor[]) => Tensor][] = [
    ['softmax', fixture.softmax, softmax],
    ['logSoftmax', fixture.logSoftmax, logSoftmax],
    ['swiglu', fixture.swiglu, swiglu],
    ['rmsNorm', norm, (x, w) => rmsNorm(x, w, norm.eps)],
    [
      'crossEntropy with ignored targets',
      loss,
      (x) => crossEntropy(x, x.arena.tensor(loss.targets, [loss.targets.length], 'i32')),
    ],
  ];

  test.each(cases)('%s and its gradients', (__, { inputs, y, dy, grads }, f) => {
    const leaves = inputs.map(({ shape, data }) => owner.parameter(data, shape));
    const result = f(...leaves.map((leaf) => arena.adopt(leaf)));
    expect(result.shape).toEqual(y.shape);
    sum(mul(result, arena.tensor(dy.data, dy.shape))).backward();
    expectClose(result.readSync(), y.data, tolerance);
    leaves.forEach((leaf, i) => {
      expectClose(leaf.grad!.readSync(), grads[i]!.data, tolerance);
    });
    arena.reset();
  });

  /** Feeds recorded gradients to an optimiser and compares norm and parameters after each step. */
  function follow(
    { start, steps }: Pick<AdamWCase, 'start' | 'steps'>,
    create: (parameters: Map<string, Tensor>) => AdamW | Muon,
  ): AdamW | Muon {
    const parameters = new Map(
      Object.entries(start).map(([name, { data, shape }]) => [name, owner.parameter(data, shape)]),
    );
    const optimizer = create(parameters);
    for (const { lr, grads, norm: expectedNorm, parameters: expected } of steps) {
      const total = [...parameters].map(([name, p]) =>
        sum(mul(arena.adopt(p), arena.tensor(grads[name]!.data, p.shape)).reshape([-1])),
      );
      for (const t of total) t.backward();
      const normSquared = optimizer.step(arena, { lr });
      optimizer.zeroGrad(arena);
      expectClose([Math.sqrt(normSquared.readSync()[0]!)], [expectedNorm], tolerance);
      for (const [name, p] of parameters) {
        expectClose(p.readSync(), expected[name]!.data, tolerance);
        expect(Math.max(...Array.from(p.grad!.readSync(), Math.abs))).toBe(0);
      }
      arena.reset();
    }
    return optimizer;
  }

  test('AdamW over three steps, with clipping, decay of matrices only and a schedule', () => {
    const { options } = fixture.adamW;
    const optimizer = follow(fixture.adamW, (parameters) => new AdamW(parameters, options));
    expect(optimizer.stepCount).toBe(3);
  });

  test('Muon over three steps: wide, tall and packed matrices, AdamW for the rest, one norm', () => {
    const { options } = fixture.muon;
    const optimizer = follow(fixture.muon, (parameters) => new Muon(parameters, options)) as Muon;
    const { stepCount, momenta, moments } = optimizer.state();
    expect([stepCount, [...momenta.keys()], [...moments.keys()]]).toEqual([
      3,
      ['wide', 'tall', 'packed'],
      ['embed', 'bias'],
    ]);
  });
});

test('composed softmax gives zeros, or -inf, for rows of only -inf, as the kernel does', () => {
  for (const [, backend] of backends()) {
    const arena = new Arena(backend);
    const x = arena.tensor([-Infinity, -Infinity, 1, -Infinity], [2, 2]);
    expect(Array.from(softmax(x).readSync())).toEqual([0, 0, 1, 0]);
    expect(Array.from(logSoftmax(x).readSync())).toEqual([-Infinity, -Infinity, 0, -Infinity]);
  }
});
