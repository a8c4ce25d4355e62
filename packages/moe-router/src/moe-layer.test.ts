import { type Backend, Random } from '@minke/core';
import { createNative, createWasm, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, mul, PackedWeights, sum, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { deepseekV2Gate, deepseekV2LiteGate, deepseekV3Gate, type MoeConfig } from './config.ts';
import { MoeLayer } from './moe-layer.ts';

const configs: Record<string, MoeConfig> = {
  'V2-Lite': { ...deepseekV2LiteGate, hiddenSize: 12, expertSize: 10, experts: 6, topK: 2 },
  V2: { ...deepseekV2Gate, groups: 4, topGroups: 2, hiddenSize: 12, expertSize: 10, experts: 8, topK: 3 },
  V3: { ...deepseekV3Gate, groups: 2, topGroups: 1, hiddenSize: 12, expertSize: 10, experts: 8, topK: 2 },
  'one group, no shared expert': {
    ...deepseekV3Gate,
    groups: 1,
    topGroups: 1,
    sharedExperts: 0,
    hiddenSize: 7,
    expertSize: 5,
    experts: 5,
    topK: 5,
  },
};

function setUp(config: MoeConfig, bits: 32 | 64 = 64) {
  const backend: Backend = createReference({ bits });
  const weights = new Arena(backend, { persistent: true });
  const random = new Random(3);
  const layer = MoeLayer.init(config, { arena: weights, random, std: 0.5 });
  const bias = layer.parameters().get('gate.e_score_correction_bias');
  bias?.write(Float64Array.from({ length: config.experts }, () => random.normal() * 0.2));
  const step = new Arena(backend, { grad: true });
  const x = step.tensor(
    Float64Array.from({ length: 9 * config.hiddenSize }, () => random.normal()),
    [9, config.hiddenSize],
  );
  return { backend, weights, step, layer, x, random };
}

type Form = 'fused' | 'grouped' | 'dense';

function gradients(layer: MoeLayer, x: Tensor, probe: Tensor, form: Form): Map<string, number[]> {
  for (const p of layer.parameters().values()) p.grad?.write(new Float64Array(p.size));
  const { output } = layer.forward(x, { form });
  sum(mul(output, probe)).backward();
  const result = new Map<string, number[]>();
  for (const [name, p] of layer.parameters()) if (p.grad) result.set(name, Array.from(p.grad.readSync()));
  return result;
}

describe.each(Object.entries(configs))('MoeLayer, %s gate', (_, config) => {
  it.each(['fused', 'grouped'] as const)('computes the same output %s and dense', (form) => {
    const { layer, x } = setUp(config);
    const a = layer.forward(x, { form }).output.readSync();
    const b = layer.forward(x, { form: 'dense' }).output.readSync();
    for (let i = 0; i < a.length; i++) expect(a[i]).toBeCloseTo(b[i] as number, 10);
  });

  it.each(['fused', 'grouped', 'dense'] as const)('gives its own choice back the same, %s', (form) => {
    const { layer, x } = setUp(config);
    const probe = x.arena.tensor(Float64Array.from(x.readSync()).reverse(), x.shape);
    const own = layer.forward(x, { form });
    const gradientsOf = (choices?: Tensor) => {
      for (const p of layer.parameters().values()) p.grad?.write(new Float64Array(p.size));
      const { output } = layer.forward(x, { form, choices });
      sum(mul(output, probe)).backward();
      const grads = [...layer.parameters().values()].flatMap((p) =>
        p.grad ? Array.from(p.grad.readSync()) : [],
      );
      return [...output.readSync(), ...grads];
    };
    const free = gradientsOf();
    const replayed = gradientsOf(own.routing.indices);
    for (const [i, value] of free.entries()) expect(replayed[i]).toBeCloseTo(value, 10);
  });

  it('uses the experts that it is given, with weights and load of their own', () => {
    const { layer, x } = setUp(config);
    const { experts, topK } = config;
    const given = Array.from({ length: 9 }, (_, n) =>
      Array.from({ length: topK }, (_, k) => (n + k) % experts).sort((a, b) => a - b),
    );
    const choices = x.arena.tensor(given.flat(), [9, topK], 'i32');
    const { load, routing } = layer.forward(x, { choices });
    expect(Array.from(routing.indices.readSync())).toEqual(given.flat());
    const counts = given.flat().reduce((sum, e) => {
      sum[e] = (sum[e] as number) + 1;
      return sum;
    }, new Array<number>(experts).fill(0));
    expect(Array.from(load.readSync())).toEqual(counts);
    const scores = routing.scores.readSync();
    const weights = routing.weights.readSync();
    const total = config.normTopK
      ? given.map((row, n) => row.reduce((sum, e) => sum + (scores[n * experts + e] as number), 0))
      : given.map(() => 1);
    for (const [i, e] of given.flat().entries()) {
      const n = Math.floor(i / topK);
      const score = (scores[n * experts + e] as number) / (total[n] as number);
      expect(weights[i]).toBeCloseTo(score * config.scalingFactor, 10);
    }
  });

  it('computes the same output from packed matrices, where no gradient is recorded', () => {
    const { layer, x, backend } = setUp(config, 32);
    using packed = new PackedWeights(
      backend,
      [...layer.parameters().values()].filter(({ rank }) => rank > 1),
    );
    const [plain, fast] = [{}, { packed }].map((options) => {
      const arena = new Arena(backend, options);
      const output = layer.forward(arena.tensor(x.readSync(), x.shape)).output.readSync();
      arena.dispose();
      return output;
    });
    expect(fast).toEqual(plain);
  });

  it('computes nearly the same output from matrices rounded to 8 bits, where all widths are multiples of 32', () => {
    const wide = { ...config, hiddenSize: 64, expertSize: 32 };
    const { layer, x, backend } = setUp(wide, 32);
    using packed = new PackedWeights(
      backend,
      [...layer.parameters()].filter(([name, { rank }]) => rank > 1 && /_proj/.test(name)).map(([, w]) => w),
      { quantize: 'q8_0' },
    );
    const [plain, rounded] = [{}, { packed }].map((options) => {
      const arena = new Arena(backend, options);
      const output = layer.forward(arena.tensor(x.readSync(), x.shape)).output.readSync();
      arena.dispose();
      return output;
    });
    const squares = (values: ArrayLike<number>) => Array.from(values).reduce((sum, v) => sum + v * v, 0);
    const error = squares(Array.from(plain!, (value, i) => value - rounded![i]!));
    expect(error).toBeGreaterThan(0);
    expect(Math.sqrt(error / squares(plain!))).toBeLessThan(0.03);
  });

  it.each(['fused', 'grouped'] as const)(
    'computes the same gradients %s and dense, for every parameter',
    (form) => {
      const { layer, step, weights, random } = setUp(config);
      const shape = [9, config.hiddenSize];
      const leaf = weights.parameter(
        Float64Array.from({ length: 9 * config.hiddenSize }, () => random.normal()),
        shape,
      );
      const x = step.adopt(leaf);
      const probe = step.tensor(
        Float64Array.from({ length: x.size }, () => random.normal()),
        x.shape,
      );
      const a = gradients(layer, x, probe, form);
      const dx = Array.from(leaf.grad!.readSync());
      leaf.grad!.write(new Float64Array(leaf.size));
      const b = gradients(layer, x, probe, 'dense');
      Array.from(leaf.grad!.readSync()).forEach((value, i) => {
        expect(dx[i], `x[${i}]`).toBeCloseTo(value, 9);
      });
      const trained = [...layer.parameters().keys()].filter(
        (name) => name !== 'gate.e_score_correction_bias',
      );
      expect([...a.keys()].sort()).toEqual(trained.sort());
      for (const [name, values] of a) {
        const other = b.get(name) as number[];
        values.forEach((value, i) => {
          expect(value, `${name}[${i}]`).toBeCloseTo(other[i] as number, 9);
        });
        expect(Math.max(...values.map(Math.abs)), name).toBeGreaterThan(0);
      }
    },
  );

  it('routes one token alone as in a batch, bit for bit', () => {
    const { layer, x } = setUp(config, 32);
    const all = layer.forward(x).output.readSync();
    for (const n of [0, 4, 8]) {
      const alone = layer.forward(x.rows(n, n + 1)).output.readSync();
      expect(Array.from(alone)).toEqual(
        Array.from(all.slice(n * config.hiddenSize, (n + 1) * config.hiddenSize)),
      );
    }
  });

  it('computes the same fused as in single ops on the CPU kernels, bit for bit', async () => {
    const { layer: other, x: input } = setUp(config, 32);
    const create = () => (nativeAvailable().available ? createNative({ threads: 2 }) : createWasm());
    const [fused, single] = [await create(), await create()];
    const { supports } = single;
    single.supports = (op) => op !== 'route' && supports.call(single, op);
    const output = (backend: Backend, form: Form) => {
      const arena = new Arena(backend, { persistent: true });
      const parameters = [...other.parameters()].map(
        ([name, p]) => [name, arena.tensor(p.readSync(), p.shape)] as const,
      );
      const layer = new MoeLayer(config, new Map(parameters));
      const step = new Arena(backend);
      return Array.from(
        layer.forward(step.tensor(input.readSync(), input.shape), { form }).output.readSync(),
      );
    };
    expect(output(fused, 'fused')).toEqual(output(single, 'grouped'));
    fused.dispose();
    single.dispose();
  });

  it('leaves frozen weights without gradient', () => {
    const { layer, step, x, backend } = setUp(config);
    const frozen = new Arena(backend, { persistent: true });
    const parameters = layer.parameters();
    for (const name of ['experts.up_proj', 'shared_experts.up_proj.weight']) {
      const p = parameters.get(name);
      if (p) parameters.set(name, frozen.tensor(p.readSync(), p.shape));
    }
    const partly = new MoeLayer(config, parameters);
    const probe = step.full(x.shape, 1);
    const a = gradients(partly, x, probe, 'fused');
    const b = gradients(partly, x, probe, 'dense');
    expect([...a.keys()]).toEqual([...b.keys()]);
    expect(a.has('experts.up_proj')).toBe(false);
    for (const [name, values] of a)
      values.forEach((value, i) => {
        expect(value, `${name}[${i}]`).toBeCloseTo(b.get(name)![i]!, 9);
      });
  });

  it('counts K choices a token', () => {
    const { layer, x } = setUp(config);
    const load = Array.from(layer.forward(x).load.readSync());
    expect(load.reduce((a, b) => a + b, 0)).toBe(9 * config.topK);
  });
});
