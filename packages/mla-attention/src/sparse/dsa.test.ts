// DeepSeek sparse attention on every backend: dense where it selects everything, and the same however tokens arrive.

import { createReference } from '@minke/gpu-backends/reference';
import { availableBackends } from '@minke/gpu-backends/testing';
import { AdamW, Arena, mul, sum } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { packSequences } from '../batch.ts';
import { MultiHeadLatentAttention } from '../mla.ts';
import { mlaParameterShapes, mlaRope } from '../mla-config.ts';
import { worstPiece } from '../testing/pieces.ts';
import { distance, normals } from '../testing/tensors.ts';
import {
  SparseCache,
  SparseLatentAttention,
  type SparseMlaConfig,
  sparseCacheBytes,
  validateIndexer,
} from './index.ts';

const D = 20;
const T = 40;
const config: SparseMlaConfig = {
  hiddenSize: D,
  numHeads: 3,
  qLoraRank: 12,
  kvLoraRank: 16,
  qkNopeHeadDim: 8,
  qkRopeHeadDim: 4,
  vHeadDim: 6,
  maxPositions: 64,
  indexer: { heads: 2, headDim: 8, topK: 7 },
};
const data = normals(2 * T * D, 4);
const widths = { width: 20, indexWidth: 8 };

describe.each(await availableBackends())('sparse attention on %s', (name, backend) => {
  const bits = name === 'webgpu' ? 1e-5 : 0;
  const layerOf = (topK: number) =>
    SparseLatentAttention.init(
      { ...config, indexer: { ...config.indexer, topK } },
      { backend, seed: 1, std: 0.3 },
    );
  const layer = layerOf(7);
  const input = (arena: Arena, sequence = 0, start = 0, end = T) =>
    arena.tensor(data.slice((sequence * T + start) * D, (sequence * T + end) * D), [end - start, D]);
  const full = async (which: SparseLatentAttention, sequence = 0, grad = false) => {
    using arena = new Arena(backend, { grad });
    return which.forward(input(arena, sequence)).output.read();
  };

  it('is dense attention where every token is selected', async () => {
    const all = layerOf(T);
    using arena = new Arena(backend);
    const dense = new MultiHeadLatentAttention(
      config,
      new Map([...mlaParameterShapes(config).keys()].map((key) => [key, all.parameters().get(key)!])),
      mlaRope(config, new Arena(backend, { persistent: true })),
    );
    const absorbed = await dense.forward(input(arena), { form: 'absorbed' }).read();
    if (name !== 'webgpu') expect(distance(await full(all), absorbed)).toBe(0);
    expect(distance(await full(all, 0, true), absorbed)).toBeLessThan(1e-5);
    expect(distance(await full(layer), absorbed)).toBeGreaterThan(1e-2);
    expect(distance((await full(layer)).slice(0, 7 * D), absorbed.slice(0, 7 * D))).toBeLessThan(1e-5);
  });

  it('computes the same with a mask over all pairs as from gathered rows', async () => {
    expect(distance(await full(layer, 0, true), await full(layer))).toBeLessThan(1e-5);
  });

  it('computes the same with a cache, in chunks of any size, bit for bit', async () => {
    const want = [await full(layer), await full(layer, 1)];
    for (const seed of [1, 2]) {
      using cache = new SparseCache(backend, { ...widths, maxTokens: 48, sequences: 2 });
      const worst = await worstPiece({
        ...{ backend, cache, data, want, seed, tokens: T, width: D, below: 9 },
        forward: (x, batch) => layer.forward(x, { batch, cache }).output,
      });
      expect(worst).toBeLessThanOrEqual(bits);
    }
  });

  it('selects what the scores of all pairs and the largest of them say, of equal ones the first', async () => {
    const { indexer } = layer;
    using arena = new Arena(backend);
    const [rows, first] = [9, 25];
    const positions = arena.tensor(
      Array.from({ length: T }, (_, i) => i),
      [T],
      'i32',
    );
    const q = indexer.queries(
      arena.tensor(normals(rows * 12, 8), [rows, 12]),
      positions.rows(first, first + rows),
    );
    const weights = indexer.weights(arena.tensor(normals(rows * D, 9), [rows, D]));
    const keys = indexer.keys(input(arena), positions);
    const scores = await indexer.scores(q, weights, keys).read();
    const ranges = Array.from({ length: rows }, (_, i) => [0, first + i]).flat();
    const got = await indexer.select(q, weights, keys, arena.tensor(ranges, [rows, 2], 'i32')).read();
    for (let i = 0; i < rows; i++) {
      const own = Array.from(scores.slice(i * T, i * T + first + i));
      const best = own.map((_, m) => m).sort((a, b) => own[b]! - own[a]! || a - b);
      const want = best.slice(0, 7).sort((a, b) => a - b);
      expect(Array.from(got.slice(7 * i, 7 * i + 7)).sort((a, b) => a - b)).toEqual(want);
    }
  });

  it('learns the indexer from its own loss only, and attention from its output only', async () => {
    for (const stage of ['warm-up', 'sparse'] as const) {
      const gradients = async (of: 'loss' | 'output') => {
        const fresh = layerOf(7);
        using arena = new Arena(backend, { grad: true });
        const { output, loss } = fresh.forward(input(arena), { stage });
        const scalar = of === 'loss' ? loss! : sum(mul(output, arena.tensor(normals(T * D, 6), [T, D])));
        scalar.backward();
        const moved = new Map<boolean, number>([
          [true, 0],
          [false, 0],
        ]);
        for (const [key, p] of fresh.parameters()) {
          const own = key.startsWith('indexer.');
          const numbers = p.grad ? Array.from(await p.grad.read()) : [];
          const size = numbers.reduce((total, g) => total + Math.abs(g), 0);
          moved.set(own, moved.get(own)! + size);
        }
        return moved;
      };
      const [byLoss, byOutput] = [await gradients('loss'), await gradients('output')];
      expect(byLoss.get(false)).toBe(0);
      expect(byLoss.get(true)).toBeGreaterThan(0);
      expect(byOutput.get(true)).toBe(0);
      expect(byOutput.get(false)).toBeGreaterThan(0);
    }
  });
});

describe('sparse attention', () => {
  const backend = createReference();

  it('brings the indexer nearer to attention in the warm-up', async () => {
    const layer = SparseLatentAttention.init(config, { backend, seed: 1, std: 0.3 });
    const own = new Map([...layer.parameters()].filter(([key]) => key.startsWith('indexer.')));
    const optimizer = new AdamW(own, { lr: 0.02, weightDecay: 0 });
    const losses: number[] = [];
    for (let i = 0; i < 40; i++) {
      using arena = new Arena(backend, { grad: true });
      const { loss } = layer.forward(arena.tensor(data, [2, T, D]), { stage: 'warm-up' });
      loss!.backward();
      losses.push((await loss!.read())[0] as number);
      optimizer.step(arena);
      optimizer.zeroGrad(arena);
    }
    expect(Math.min(...losses)).toBeGreaterThanOrEqual(0);
    expect(losses.at(-1)!).toBeLessThan(0.7 * losses[0]!);
  });

  it('takes the bytes that are predicted', () => {
    const size = { ...widths, layers: 3, maxTokens: 10, sequences: 2 };
    using cache = new SparseCache(backend, size);
    expect(cache.bytes).toBe(sparseCacheBytes(size));
    expect(cache.bytes).toBe(4 * 3 * 2 * 10 * 28);
  });

  it('says what is wrong with a config or a call', () => {
    const wrong = { hiddenSize: 4, queryWidth: 4, heads: 0, headDim: 2, ropeDim: 4, topK: 1 };
    expect(() => validateIndexer(wrong)).toThrow(
      /heads a positive integer, got 0; ropeDim even and within headDim 2/,
    );
    const layer = SparseLatentAttention.init(config, { backend, seed: 1 });
    using arena = new Arena(backend);
    using cache = new SparseCache(backend, { ...widths, maxTokens: 8 });
    expect(() => layer.forward(arena.zeros([4, 7]))).toThrow(/x \[N, 20\]/);
    expect(() => layer.forward(arena.zeros([4, D]), { cache, stage: 'sparse' })).toThrow(
      /no stage beside a cache/,
    );
    expect(() =>
      layer.forward(arena.zeros([4, D]), {
        batch: { ...packSequences(arena, [4]), segments: undefined } as never,
      }),
    ).toThrow(/whole or cached sequences/);
  });
});
