import { type Backend, Random } from '@minke/core';
import { createNative, nativeAvailable } from '@minke/gpu-backends/cpu';
import { createReference } from '@minke/gpu-backends/reference';
import { withoutOps } from '@minke/gpu-backends/testing';
import { Arena, gradcheck, mul, sum, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { type AttentionForm, packSequences } from './batch.ts';
import { MultiHeadLatentAttention } from './mla.ts';
import { type MlaConfig, mlaParameterShapes, mlaRope } from './mla-config.ts';
import { distance, normals, randomTensor } from './testing/tensors.ts';

const small: MlaConfig = {
  hiddenSize: 20,
  numHeads: 3,
  qLoraRank: null,
  kvLoraRank: 16,
  qkNopeHeadDim: 8,
  qkRopeHeadDim: 4,
  vHeadDim: 6,
  maxPositions: 64,
};
const yarn = { factor: 8, originalMaxPositions: 16, betaFast: 32, betaSlow: 1, mscale: 1, mscaleAllDim: 0.7 };
const configs: Record<string, MlaConfig> = {
  'single query projection': small,
  'query LoRA, YaRN, biases': { ...small, qLoraRank: 10, yarn, ropeTheta: 100, attentionBias: true },
  'half-split layout, one head': { ...small, numHeads: 1, ropeLayout: 'half', qLoraRank: 5 },
};

const backends: Record<string, () => Backend> = { reference: () => createReference() };
if (nativeAvailable().available) {
  const native = await createNative({ threads: 1 });
  backends.native = () => native;
}

function layer(config: MlaConfig, backend: Backend): MultiHeadLatentAttention {
  const mla = MultiHeadLatentAttention.init(config, { backend, seed: 1, std: 0.3 });
  const random = new Random(2);
  for (const [name, parameter] of mla.parameters()) {
    if (name.includes('norm')) parameter.write(normals(parameter.size, 3).map((x) => 1 + 0.3 * Math.tanh(x)));
    else if (name.endsWith('.bias'))
      parameter.write(Array.from({ length: parameter.size }, () => random.normal()));
  }
  return mla;
}

describe.each(Object.entries(backends))('latent attention on %s', (_, makeBackend) => {
  describe.each(Object.entries(configs))('with %s', (_, config) => {
    const backend = makeBackend();
    const mla = layer(config, backend);
    const T = 12;
    const data = normals(2 * T * 20, 4);
    const input = (arena: Arena, sequence: number, start = 0, end = T) =>
      arena.tensor(data.slice((sequence * T + start) * 20, (sequence * T + end) * 20), [end - start, 20]);
    const full = (sequence: number) => {
      using arena = new Arena(backend);
      return mla.forward(input(arena, sequence)).readSync();
    };

    it('computes the same absorbed as expanded', () => {
      using arena = new Arena(backend);
      const absorbed = mla.forward(input(arena, 0), { form: 'absorbed' }).readSync();
      expect(distance(absorbed, full(0))).toBeLessThan(1e-5);
    });

    it('computes the same for a batch as for each sequence alone, bit for bit', () => {
      using arena = new Arena(backend);
      const both = mla.forward(arena.tensor(data, [2, T, 20])).readSync();
      expect(distance(both, [...full(0), ...full(1)])).toBe(0);
    });

    it('computes the same with an expanded cache as without one, bit for bit, however the tokens arrive', () => {
      for (const seed of [1, 2, 3]) {
        const random = new Random(seed);
        using cache = mla.createCache({ maxTokens: T, sequences: 2, form: 'expanded' });
        const got: number[][] = [[], []];
        while (cache.length(0) < T || cache.length(1) < T) {
          using arena = new Arena(backend);
          const requests = [0, 1].flatMap((sequence) => {
            const left = T - cache.length(sequence);
            const count = left === 0 ? 0 : random.integer(0, Math.min(left, 5) + 1);
            return count === 0 ? [] : [{ sequence, count, role: 'prompt' as const }];
          });
          if (requests.length === 0) continue;
          const rows = requests.flatMap(({ sequence, count }) => {
            const start = (sequence * T + cache.length(sequence)) * 20;
            return data.slice(start, start + count * 20);
          });
          const batch = cache.append(arena, requests);
          const y = mla.forward(arena.tensor(rows, [rows.length / 20, 20]), { batch, cache }).readSync();
          let row = 0;
          for (const { sequence, count } of requests) {
            got[sequence]!.push(...y.slice(row * 20, (row + count) * 20));
            row += count;
          }
        }
        expect(distance(got[0]!, full(0))).toBe(0);
        expect(distance(got[1]!, full(1))).toBe(0);
      }
    });

    it.each([
      ['by role', undefined],
      ['pinned expanded', 'expanded'],
      ['pinned absorbed', 'absorbed'],
    ] as const)('computes the same with a latent cache as without one, %s', (_, form) => {
      using cache = mla.createCache({ maxTokens: T + 3, sequences: 3 });
      // A step with old and new sequences, prompts and generated tokens side by side.
      const steps = [
        [{ sequence: 2, count: 5, role: 'prompt' as const, of: 0 }],
        [
          { sequence: 1, count: 3, role: 'prompt' as const, of: 1 },
          { sequence: 2, count: 4, role: 'prompt' as const, of: 0 },
        ],
        [
          { sequence: 1, count: 1, role: 'generated' as const, of: 1 },
          { sequence: 2, count: 1, role: 'generated' as const, of: 0 },
        ],
        [
          { sequence: 2, count: 2, role: 'generated' as const, of: 0 },
          { sequence: 1, count: 8, role: 'prompt' as const, of: 1 },
        ],
      ];
      for (const requests of steps) {
        using arena = new Arena(backend);
        const expected: number[] = [];
        const rows: number[] = [];
        for (const { sequence, count, of } of requests) {
          const start = cache.length(sequence);
          rows.push(...data.slice((of * T + start) * 20, (of * T + start + count) * 20));
          expected.push(...full(of).slice(start * 20, (start + count) * 20));
        }
        const batch = cache.append(arena, requests);
        const options = form === undefined ? { batch, cache } : { batch, cache, form };
        const y = mla.forward(arena.tensor(rows, [rows.length / 20, 20]), options);
        expect(distance(y.readSync(), expected)).toBeLessThan(1e-5);
      }
    });
  });
});

describe('latent attention', () => {
  const backend = createReference({ bits: 64 });

  it.each(['expanded', 'absorbed'] as const)(
    'has the gradients that finite differences give, %s',
    async (form) => {
      const config = {
        ...small,
        hiddenSize: 5,
        numHeads: 2,
        qLoraRank: 4,
        kvLoraRank: 3,
        qkNopeHeadDim: 3,
        vHeadDim: 2,
      };
      const shapes = mlaParameterShapes(config);
      const rope = mlaRope(config, new Arena(backend, { persistent: true }));
      const report = await gradcheck(
        (x, ...weights) => {
          const parameters = new Map([...shapes.keys()].map((name, i) => [name, weights[i] as Tensor]));
          const mla = new MultiHeadLatentAttention(config, parameters, rope);
          return mla.forward(x as Tensor, { batch: packSequences((x as Tensor).arena, [3, 2]), form });
        },
        [[5, 5], ...shapes.values()].map((shape) => ({ shape })),
        { backend, tolerance: 1e-5 },
      );
      expect(report.worst).toBeLessThan(1e-5);
    },
  );

  it('has the same gradients absorbed as expanded, for every parameter', () => {
    const mla = layer({ ...small, qLoraRank: 10 }, backend);
    const gradients = (form: AttentionForm) => {
      using arena = new Arena(backend, { grad: true });
      for (const p of mla.parameters().values()) p.grad?.write(new Float64Array(p.size));
      const x = randomTensor(arena, [2, 5, 20], 5);
      sum(mul(mla.forward(x, { form }), randomTensor(arena, [2, 5, 20], 6))).backward();
      return [...mla.parameters()].map(([name, p]) => [name, Array.from(p.grad!.readSync())] as const);
    };
    const absorbed = new Map(gradients('absorbed'));
    for (const [name, values] of gradients('expanded')) {
      expect(distance(values, absorbed.get(name)!), name).toBeLessThan(1e-10);
    }
  });

  it('runs without any of its fused kernels', () => {
    const lacking = withoutOps(createReference({ bits: 64 }), 'rope', 'attention', 'latentAttention');
    const outputs = [backend, lacking].map((own) => {
      using arena = new Arena(own);
      return layer(small, own)
        .forward(randomTensor(arena, [2, 7, 20], 7))
        .readSync();
    });
    expect(distance(outputs[0]!, outputs[1]!)).toBeLessThan(1e-12);
  });

  it('keeps to the softmax scale of the query heads in the absorbed form', () => {
    expect(layer(small, backend).scale).toBe(12 ** -0.5);
    expect(layer({ ...small, softmaxScale: 0.25 }, backend).scale).toBe(0.25);
  });

  it('names parameters as Hugging Face does', () => {
    expect([...mlaParameterShapes({ ...small, qLoraRank: 10 })]).toEqual([
      ['q_a_proj.weight', [10, 20]],
      ['q_a_layernorm.weight', [10]],
      ['q_b_proj.weight', [36, 10]],
      ['kv_a_proj_with_mqa.weight', [20, 20]],
      ['kv_a_layernorm.weight', [16]],
      ['kv_b_proj.weight', [42, 16]],
      ['o_proj.weight', [20, 18]],
    ]);
    expect(mlaParameterShapes(small).get('q_proj.weight')).toEqual([36, 20]);
  });

  it('says what is wrong with a config, an input, a batch or a cache', () => {
    const mla = layer(small, backend);
    using arena = new Arena(backend);
    using training = new Arena(backend, { grad: true });
    using cache = mla.createCache({ maxTokens: 8 });
    using keys = mla.createCache({ maxTokens: 8, form: 'expanded' });
    expect(() =>
      MultiHeadLatentAttention.init({ ...small, qkRopeHeadDim: 3, numHeads: 0 }, { backend }),
    ).toThrow(/numHeads a positive integer, got 0; qkRopeHeadDim even, got 3/);
    expect(() => mla.forward(arena.zeros([4, 7]))).toThrow(/x \[N, 20\] or \[B, T, 20\], got \[4, 7\]/);
    expect(() => mla.forward(arena.zeros([4, 20]), { batch: packSequences(arena, [3]) })).toThrow(
      /positions \[4\]/,
    );
    expect(() => mla.forward(arena.zeros([4, 20]), { batch: packSequences(arena, [4]), cache })).toThrow(
      /append/,
    );
    expect(() => mla.forward(training.zeros([4, 20]), { cache })).toThrow(/without gradients/);
    expect(() => mla.forward(arena.zeros([4, 20]), { cache: keys, form: 'absorbed' })).toThrow(
      /form expanded/,
    );
    expect(() => MultiHeadLatentAttention.init(small, {})).toThrow(/an arena or a backend/);
  });

  it('accepts an empty batch', () => {
    using arena = new Arena(backend);
    expect(layer(small, backend).forward(arena.zeros([0, 20])).shape).toEqual([0, 20]);
  });
});
