// The invariants of layers with windows, on every backend.

import { type Backend, Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { availableBackends, withoutOps } from '@minke/gpu-backends/testing';
import { Arena, gradcheck, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { type AttentionForm, packSequences } from '../batch.ts';
import { MultiHeadLatentAttention } from '../mla.ts';
import { type MlaConfig, mlaRope } from '../mla-config.ts';
import { distance, normals } from '../testing/tensors.ts';
import {
  HybridCache,
  HybridLatentAttention,
  hybridParameterShapes,
  interleavedPlan,
  type LayerPlan,
  placedTokens,
  splitAttention,
  splitNumbers,
  splitRanges,
  validateLayerPlan,
} from './index.ts';

const D = 20;
const config: MlaConfig = {
  hiddenSize: D,
  numHeads: 3,
  qLoraRank: null,
  kvLoraRank: 16,
  qkNopeHeadDim: 8,
  qkRopeHeadDim: 4,
  vHeadDim: 6,
  maxPositions: 256,
};
const W = 70; // longer than a tile of keys
const plan: LayerPlan = { layerTypes: ['local', 'global', 'hybrid'], window: W };
const T = 2 * W + 3;
const data = normals(2 * T * D, 4);
const forms = ['expanded', 'absorbed'] as const;

/** A layer with the weights that others of the same seed have, and numbers for what its type adds. */
function layerOf(backend: Backend, index: number, own: Partial<LayerPlan> = {}, added = 0.4) {
  const layer = HybridLatentAttention.init(config, { ...plan, ...own }, index, {
    ...{ backend, seed: 1, std: 0.3 },
  });
  const random = new Random(9);
  for (const [name, parameter] of layer.parameters())
    if (name === 'sinks' || name.startsWith('far_bias.'))
      parameter.write(Array.from({ length: parameter.size }, () => added * random.normal()));
  return layer;
}

describe.each(await availableBackends())('layers with windows on %s', (name, backend) => {
  const bits = name === 'webgpu' ? 1e-5 : 0;
  const mla = MultiHeadLatentAttention.init(config, { backend, seed: 1, std: 0.3 });
  const local = layerOf(backend, 0);
  const hybrid = layerOf(backend, 2);
  const input = (arena: Arena, sequence: number, start = 0, end = T) =>
    arena.tensor(data.slice((sequence * T + start) * D, (sequence * T + end) * D), [end - start, D]);
  const full = async (layer: HybridLatentAttention, form: AttentionForm, sequence = 0) => {
    using arena = new Arena(backend);
    return layer.forward(input(arena, sequence), { form }).read();
  };
  const plain = async (form: AttentionForm, window = T) => {
    using arena = new Arena(backend);
    const batch = packSequences(arena, [T]);
    const numbers = Array.from({ length: T }, (_, t) => [Math.max(0, t - window + 1), t + 1]);
    const banded = { ...batch, ranges: arena.tensor(numbers.flat(), [T, 2], 'i32') };
    return mla.forward(input(arena, 0), { batch: banded, form }).read();
  };

  it.each(forms)('begin as full attention, bit for bit, %s', async (form) => {
    expect(distance(await full(layerOf(backend, 2, {}, 0), form), await plain(form))).toBeLessThanOrEqual(
      bits,
    );
    expect(distance(await full(layerOf(backend, 1), form), await plain(form))).toBeLessThanOrEqual(bits);
  });

  it.each(forms)(
    'look at the window only where they are local, or the bias is at its limit, %s',
    async (form) => {
      const banded = await plain(form, W);
      const closed = layerOf(backend, 2, { farBiasLimit: 1e30 }, 0);
      closed.parameters().get('far_bias.bias')!.write([-1e30, -1e30, -1e30]);
      expect(distance(await full(local, form), banded)).toBeLessThan(1e-5);
      expect(distance(await full(closed, form), banded)).toBeLessThan(1e-5);
      expect(distance(await full(local, form), await plain(form))).toBeGreaterThan(1e-3);
    },
  );

  it.each(forms)('are the same local as global where the window holds everything, %s', async (form) => {
    const wide = layerOf(backend, 0, { window: T });
    expect(distance(await full(wide, form), await plain(form))).toBeLessThanOrEqual(bits);
  });

  it('compute the same for a batch as for each sequence alone, bit for bit', async () => {
    for (const layer of [local, hybrid]) {
      using arena = new Arena(backend);
      const both = await layer.forward(arena.tensor(data, [2, T, D])).read();
      const alone = [...(await full(layer, 'expanded')), ...(await full(layer, 'expanded', 1))];
      expect(distance(both, alone)).toBeLessThanOrEqual(bits);
    }
  });

  /** Feeds two sequences in chunks, and compares every token with the pass without a cache. */
  async function feed(
    layer: HybridLatentAttention,
    form: AttentionForm,
    chunks: () => number,
    length: number,
  ) {
    using cache = new HybridCache(backend, { plan: layer.plan, width: 20, maxTokens: 256, sequences: 2 });
    const want = [await full(layer, form), await full(layer, form, 1)];
    let worst = 0;
    while (cache.length(0) < length || cache.length(1) < length) {
      using arena = new Arena(backend);
      const requests = [1, 0].flatMap((sequence) => {
        const count = Math.min(chunks(), length - cache.length(sequence));
        return count > 0 ? [{ sequence, count, role: 'prompt' as const }] : [];
      });
      if (requests.length === 0) continue;
      const parts = requests.map(({ sequence, count }) => {
        const start = cache.length(sequence);
        return {
          x: data.slice((sequence * T + start) * D, (sequence * T + start + count) * D),
          y: want[sequence]!.slice(start * D, (start + count) * D),
        };
      });
      const batch = cache.append(arena, requests);
      const x = parts.flatMap((part) => part.x);
      const y = await layer.forward(arena.tensor(x, [x.length / D, D]), { batch, cache, form }).read();
      worst = Math.max(
        worst,
        distance(
          y,
          parts.flatMap((part) => Array.from(part.y)),
        ),
      );
    }
    return worst;
  }

  describe.each(forms)('with a cache, %s', (form) => {
    it.each([W - 1, W, W + 1, 2 * W])(
      'give the bits of the pass without one for %i tokens at once',
      async (n) => {
        for (const layer of [local, hybrid])
          expect(await feed(layer, form, () => n, n)).toBeLessThanOrEqual(bits);
      },
    );

    it('give the same bits token by token and in chunks of any size', async () => {
      const random = new Random(3);
      const sinks = layerOf(backend, 0, { sinks: true });
      for (const layer of [local, hybrid, sinks]) {
        expect(await feed(layer, form, () => random.integer(0, 50), T)).toBeLessThanOrEqual(bits);
      }
      expect(await feed(local, form, () => 1, T)).toBeLessThanOrEqual(bits);
      expect(await feed(hybrid, form, () => 1, T)).toBeLessThanOrEqual(bits);
    });
  });

  it('give the same by role as pinned, to rounding', async () => {
    for (const layer of [local, hybrid, layerOf(backend, 1)]) {
      using cache = new HybridCache(backend, { plan, width: 20, maxTokens: 256, sequences: 2 });
      const want = await full(layer, 'expanded');
      for (const [count, role] of [
        [90, 'prompt'],
        [1, 'generated'],
        [4, 'generated'],
        [20, 'prompt'],
      ] as const) {
        using arena = new Arena(backend);
        const start = cache.length(1);
        const batch = cache.append(arena, [{ sequence: 1, count, role }]);
        const y = await layer.forward(input(arena, 0, start, start + count), { batch, cache }).read();
        expect(distance(y, want.slice(start * D, (start + count) * D))).toBeLessThan(1e-5);
      }
    }
  });

  it('take tokens back as far as the ring has slack, and refuse to go further', async () => {
    using cache = new HybridCache(backend, { plan, width: 20, maxTokens: 256, sequences: 2, slack: 4 });
    const want = await full(local, 'absorbed');
    const step = async (from: number, count: number, sequence = 0) => {
      using arena = new Arena(backend);
      const batch = cache.append(arena, [{ sequence, count, role: 'prompt' }]);
      const x = input(arena, 0, from, from + count);
      return local.forward(x, { batch, cache, form: 'absorbed' }).read();
    };
    await step(0, 100);
    // Four tokens of another text, then back.
    await step(130, 4);
    cache.truncate(0, 100);
    expect(distance(await step(100, 1), want.slice(100 * D, 101 * D))).toBeLessThanOrEqual(bits);
    expect(() => cache.truncate(0, 99)).toThrow(/make the cache with more slack/);
    using arena = new Arena(backend);
    cache.copySequence(arena, 0, 1, 101);
    arena.submit();
    expect(distance(await step(101, 30, 1), want.slice(101 * D, 131 * D))).toBeLessThanOrEqual(bits);
    cache.truncate(0, 0);
    expect(distance(await step(0, 2), want.slice(0, 2 * D))).toBeLessThanOrEqual(bits);
  });

  /** Attention probabilities: values are unit vectors. */
  async function probabilities(bias: number, sink: number | null, far = 9) {
    using arena = new Arena(backend);
    const [rows, keys] = [4, 12];
    const q = arena.tensor(normals(rows * 2 * 5, 1), [rows, 2, 5]);
    const k = arena.tensor(normals(keys * 2 * 5, 2), [keys, 2, 5]);
    const unit = Array.from({ length: keys * 2 * keys }, (_, i) =>
      Number(Math.floor(i / (2 * keys)) === i % keys),
    );
    const ranges = splitRanges(arena, new Array(rows).fill([0, 1, far, keys]).flat());
    return splitAttention(q, k, arena.tensor(unit, [keys, 2, keys]), ranges, {
      scale: 0.5,
      bias: arena.full([rows, 2], bias),
      ...(sink !== null && { sink: arena.full([2], sink) }),
    }).read();
  }

  it('lose weight to a sink on every key, and none without one', async () => {
    const without = await probabilities(0.3, null);
    const little = await probabilities(0.3, -1);
    const more = await probabilities(0.3, 2);
    for (let i = 0; i < without.length; i++) {
      expect(little[i]).toBeLessThanOrEqual(without[i] as number);
      expect(more[i]).toBeLessThanOrEqual(little[i] as number);
    }
    expect(distance(await probabilities(0.3, Number.NEGATIVE_INFINITY), without)).toBeLessThanOrEqual(bits);
  });

  it('have a far mass that grows with the bias', async () => {
    const mass = async (bias: number) => {
      const p = Array.from(await probabilities(bias, null));
      return Array.from({ length: 8 }, (_, row) =>
        p.slice(row * 12, row * 12 + 9).reduce((a, b) => a + b, 0),
      );
    };
    let before = await mass(-20);
    for (const bias of [-4, -1, 0, 0.5, 3]) {
      const now = await mass(bias);
      now.forEach((m, row) => {
        expect(m).toBeGreaterThan(before[row] as number);
        expect(m).toBeLessThan(1);
      });
      before = now;
    }
  });

  it('have the gradients of their composed form', async () => {
    const lacking = withoutOps(backend, 'splitAttention', 'splitAttentionGrad', 'gatheredAttention');
    const run = async (own: Backend) => {
      const layer = layerOf(own, 2, { sinks: true, window: 9 });
      using arena = new Arena(own, { grad: true });
      const x = arena.tensor(data.slice(0, 60 * D), [3, 20, D]);
      const weights = arena.tensor(normals(60 * D, 8), [60, D]);
      const { mul, sum } = await import('@minke/tensor');
      const y = layer.forward(x);
      sum(mul(y.reshape([60, D]), weights)).backward();
      const grads = new Map<string, ArrayLike<number>>([['y', await y.read()]]);
      for (const [key, p] of layer.parameters()) grads.set(key, await p.grad!.read());
      return grads;
    };
    const composed = await run(lacking);
    for (const [key, values] of await run(backend))
      expect(distance(values, composed.get(key)!), key).toBeLessThan(2e-4);
  });
});

describe('layers with windows', () => {
  const backend = createReference({ bits: 64 });
  const tiny = { ...config, hiddenSize: 5, numHeads: 2, kvLoraRank: 3, qkNopeHeadDim: 3, vHeadDim: 2 };

  it.each(forms)(
    'have the gradients that finite differences give, the bias and the sinks too, %s',
    async (form) => {
      const own: LayerPlan = { layerTypes: ['local', 'hybrid'], window: 2, sinks: true };
      for (const layer of [0, 1]) {
        const shapes = hybridParameterShapes(tiny, own, layer);
        const rope = mlaRope(tiny, new Arena(backend, { persistent: true }));
        const report = await gradcheck(
          (x, ...weights) => {
            const parameters = new Map([...shapes.keys()].map((name, i) => [name, weights[i] as Tensor]));
            const attention = new HybridLatentAttention(tiny, own, layer, parameters, rope);
            return attention.forward(x as Tensor, {
              batch: packSequences((x as Tensor).arena, [4, 2]),
              form,
            });
          },
          [[6, 5], ...shapes.values()].map((shape) => ({ shape })),
          { backend, tolerance: 1e-5 },
        );
        expect(report.worst).toBeLessThan(1e-5);
      }
    },
  );

  it('place the rows of sequences that share a beginning', () => {
    using arena = new Arena(backend);
    const segments = [
      {
        sequence: 0,
        start: 2,
        count: 1,
        context: 2,
        role: 'prompt' as const,
        prefix: { start: 0, count: 2 },
      },
      {
        sequence: 1,
        start: 3,
        count: 2,
        context: 2,
        role: 'prompt' as const,
        prefix: { start: 0, count: 2 },
      },
    ];
    const batch = { ...packSequences(arena, [5]), segments };
    expect(splitNumbers(placedTokens(batch), 'hybrid', 2)).toEqual(
      [
        [0, 0, 0, 1],
        [0, 0, 0, 2],
        [0, 0, 1, 3],
        [3, 3, 4, 6],
        [3, 3, 5, 7],
      ].flat(),
    );
  });

  it('say what is wrong with a plan, a batch or a cache', () => {
    expect(() =>
      validateLayerPlan({ layerTypes: ['far' as 'local'], window: 0, farBiasLimit: 0 }, 2),
    ).toThrow(
      /each of 2 layers, got 1; layerTypes among local, global, hybrid, got far; window a positive integer, got 0; farBiasLimit above 0, got 0/,
    );
    expect(
      interleavedPlan(9, { window: 4 })
        .layerTypes.map((type) => type[0])
        .join(''),
    ).toBe('llllglllg');
    const layer = layerOf(backend, 2);
    using arena = new Arena(backend);
    expect(() => layer.forward(arena.zeros([4, 7]))).toThrow(/x \[N, 20\]/);
    const { segments, ...bare } = packSequences(arena, [4]);
    expect(segments).toHaveLength(1);
    expect(() => layer.forward(arena.zeros([4, D]), { batch: bare })).toThrow(/a batch with segments/);
    expect(() => layerOf(backend, 1).farBias(arena.zeros([4, D]), packSequences(arena, [4]))).toThrow(
      /hybrid layer, got global/,
    );
  });
});
