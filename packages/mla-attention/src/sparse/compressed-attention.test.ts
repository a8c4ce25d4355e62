// DeepSeek-V4's attention: as transformers computes it (tools/parity/compressed_attention.py), and the same however
// tokens arrive.

import { readFileSync } from 'node:fs';
import { createReference } from '@minke/gpu-backends/reference';
import { availableBackends, withoutOps } from '@minke/gpu-backends/testing';
import { AdamW, Arena, mul, sum, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { packSequences } from '../batch.ts';
import { worstPiece } from '../testing/pieces.ts';
import { distance, normals } from '../testing/tensors.ts';
import {
  CompressedAttention,
  type CompressedAttentionConfig,
  CompressedCache,
  type Compression,
  compressedCacheBytes,
  compressedRope,
  validateCompressedAttention,
} from './index.ts';

interface Numbers {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
interface Fixture extends Readonly<Record<'x' | 'y' | 'dy' | 'dx', Numbers>> {
  readonly ropeTheta: number;
  readonly parameters: Readonly<Record<string, Numbers>>;
  readonly gradients: Readonly<Record<string, Numbers>>;
}
type Kind = 'window' | 'heavy' | 'sparse';
const url = new URL('../../fixtures/compressed-attention.json', import.meta.url);
const fixtures = JSON.parse(readFileSync(url, 'utf8')) as Readonly<Record<Kind, Fixture>>;

const kinds = ['window', 'heavy', 'sparse'] as const;
const compressions: Readonly<Record<Kind, Compression | null>> = {
  window: null,
  heavy: { kind: 'heavy', ratio: 7 },
  sparse: { kind: 'sparse', ratio: 3, indexer: { heads: 6, headDim: 8, topK: 3 } },
};
const [D, T] = [20, 26];
const base = {
  hiddenSize: D,
  numHeads: 4,
  headDim: 8,
  ropeDim: 4,
  qLoraRank: 12,
  outputGroups: 2,
  outputLoraRank: 6,
  window: 5,
  maxPositions: 64,
};
const configOf = (kind: Kind): CompressedAttentionConfig => ({
  ...base,
  compression: compressions[kind],
  ropeTheta: fixtures[kind].ropeTheta,
});
const upload = (arena: Arena, { data, shape }: Numbers): Tensor => arena.tensor(data, shape);

const lacking = ['gatheredAttention', 'indexerScores', 'selectLargest', 'latentAttention', 'rope'] as const;
const backends = [
  ['reference in f64', createReference({ bits: 64 })] as const,
  ['a backend without the ops', withoutOps(createReference({ bits: 64 }), ...lacking)] as const,
  ...(await availableBackends()),
];

describe.each(backends)('on %s', (name, backend) => {
  const tolerance = name === 'reference in f64' ? 2e-6 : 3e-5;
  const layerOf = (kind: Kind, config = configOf(kind)) => {
    const weights = new Arena(backend, { persistent: true });
    const parameters = Object.entries(fixtures[kind].parameters).map(
      ([key, numbers]) => [key, weights.parameter(numbers.data, numbers.shape)] as const,
    );
    return new CompressedAttention(config, new Map(parameters), compressedRope(config, weights));
  };
  const layers = new Map(kinds.map((kind) => [kind, layerOf(kind)]));
  const data = normals(2 * T * D, 4);
  const full = (layer: CompressedAttention, sequence: number) => {
    using arena = new Arena(backend);
    return layer.forward(arena.tensor(data.slice(sequence * T * D, (sequence + 1) * T * D), [T, D])).read();
  };

  it.each(kinds)('it is that of DeepSeek-V4, and so are its gradients: %s', async (kind) => {
    const layer = layers.get(kind)!;
    const { x, y, dy, dx, gradients } = fixtures[kind];
    {
      using arena = new Arena(backend);
      expect(distance(await layer.forward(upload(arena, x)).read(), y.data)).toBeLessThan(tolerance);
    }
    using arena = new Arena(backend, { grad: true });
    const input = arena.parameter(x.data, x.shape);
    const output = layer.forward(input);
    sum(mul(output, upload(arena, dy))).backward();
    expect(distance(await output.read(), y.data)).toBeLessThan(tolerance);
    const scale = Math.max(...dx.data.map(Math.abs));
    expect(distance(await input.grad!.read(), dx.data)).toBeLessThan(20 * tolerance * Math.max(1, scale));
    const own = layer.parameters();
    for (const [key, want] of Object.entries(gradients)) {
      const largest = Math.max(1, ...want.data.map(Math.abs));
      expect(distance(await own.get(key)!.grad!.read(), want.data), key).toBeLessThan(
        20 * tolerance * largest,
      );
    }
    for (const [key, p] of own) {
      if (!(key in gradients)) expect(p.grad, key).toBeNull();
    }
  });

  it.each(kinds)('it is the same with a cache, in pieces of any size, bit for bit: %s', async (kind) => {
    const layer = layers.get(kind)!;
    const want = [await full(layer, 0), await full(layer, 1)];
    const bits = name === 'webgpu' || name.startsWith('a backend') ? 1e-5 : 0;
    for (const seed of [1, 2, 3]) {
      using cache = new CompressedCache(backend, {
        ...{ configs: [configOf(kind), configOf(kind)], maxTokens: 32, sequences: 2, slack: 4 },
      });
      let takenBack = 0;
      let longest = 0;
      const worst = await worstPiece({
        ...{ backend, cache, data, want, seed, tokens: T, width: D, below: 12 },
        forward: (x, batch) => layer.forward(x, { batch, cache, layer: 1 }),
        // Some tokens are taken back and come again.
        after: () => {
          longest = Math.max(longest, cache.length(0));
          if (seed === 3 && takenBack++ < 4 && longest > 4)
            cache.truncate(0, Math.min(longest - 4, cache.length(0)));
        },
      });
      expect(worst).toBeLessThanOrEqual(bits);
    }
  });

  it('it is dense attention where no window is closed and the raw one holds all tokens', async () => {
    const wide = { ...base, window: T, ropeTheta: fixtures.heavy.ropeTheta };
    const compression = { kind: 'heavy', ratio: 7 } as const;
    const short = async (config: CompressedAttentionConfig) => {
      const weights = new Arena(backend, { persistent: true });
      const parameters = Object.entries(fixtures.heavy.parameters).map(
        ([key, numbers]) => [key, weights.parameter(numbers.data, numbers.shape)] as const,
      );
      const layer = new CompressedAttention(config, new Map(parameters), compressedRope(config, weights));
      using arena = new Arena(backend);
      return layer.forward(arena.tensor(data.slice(0, 6 * D), [6, D])).read();
    };
    const dense = await short({ ...wide, compression: null });
    expect(distance(await short({ ...wide, compression }), dense)).toBe(0);
    expect(distance(await short({ ...wide, compression, window: 5 }), dense)).toBeGreaterThan(1e-3);
  });

  it('selecting every entry is attending to all of them, and fewer is not', async () => {
    const withTopK = (topK: number, grad: boolean) => {
      const compression = { ...compressions.sparse!, indexer: { heads: 6, headDim: 8, topK } } as Compression;
      using arena = new Arena(backend, { grad });
      return layerOf('sparse', { ...configOf('sparse'), compression })
        .forward(arena.tensor(data.slice(0, T * D), [T, D]))
        .read();
    };
    const all = await withTopK(8, true);
    expect(distance(await withTopK(8, false), all)).toBeLessThan(tolerance);
    expect(distance(await withTopK(50, false), all)).toBeLessThan(tolerance);
    expect(distance(await withTopK(3, false), await withTopK(3, true))).toBeLessThan(tolerance);
    expect(distance(await withTopK(3, false), all)).toBeGreaterThan(1e-3);
  });

  it.each(kinds)('it does not look ahead, nor into other sequences: %s', async (kind) => {
    const layer = layers.get(kind)!;
    const of = async (numbers: readonly number[], lengths: readonly number[]) => {
      using arena = new Arena(backend);
      const batch = packSequences(arena, lengths);
      return layer.forward(arena.tensor(numbers, [numbers.length / D, D]), { batch }).read();
    };
    const before = await of(data, [T, T]);
    const changed = data.map((x, i) => (i < 20 * D ? x : -x));
    const after = await of(changed, [T, T]);
    expect(distance(before.slice(0, 20 * D), after.slice(0, 20 * D))).toBe(0);
    expect(distance(before.slice(20 * D, 21 * D), after.slice(20 * D, 21 * D))).toBeGreaterThan(1e-3);
    expect(distance(before.slice(0, T * D), await full(layer, 0))).toBe(0);
  });
});

describe('compressed attention', () => {
  const backend = createReference();

  it.each(['warm-up', 'sparse'] as const)(
    'teaches its indexer by its own loss, and nothing else by that: %s',
    async (stage) => {
      const layer = CompressedAttention.init(configOf('sparse'), { backend, seed: 3, std: 0.4 });
      const own = new Map([...layer.parameters()].filter(([key]) => key.includes('.indexer.')));
      const optimizer = new AdamW(own, { lr: 0.02, weightDecay: 0 });
      const numbers = normals(2 * T * D, 9);
      const losses: number[] = [];
      for (let i = 0; i < 40; i++) {
        using arena = new Arena(backend, { grad: true });
        const { output, loss } = layer.learn(arena.tensor(numbers, [2, T, D]), { stage });
        expect(output.shape).toEqual([2, T, D]);
        loss.backward();
        for (const [key, p] of layer.parameters()) expect(p.grad !== null, key).toBe(own.has(key));
        losses.push((await loss.read())[0] as number);
        optimizer.step(arena);
        optimizer.zeroGrad(arena);
      }
      expect(Math.min(...losses)).toBeGreaterThanOrEqual(0);
      // The sparse stage chooses anew each time, so its loss falls less evenly.
      expect(losses.at(-1)!).toBeLessThan((stage === 'warm-up' ? 0.7 : 0.9) * losses[0]!);
    },
  );

  it('has the output of its forward pass while it learns from what it selects', async () => {
    const layer = CompressedAttention.init(configOf('sparse'), { backend, seed: 3, std: 0.4 });
    using arena = new Arena(backend, { grad: true });
    const x = arena.tensor(normals(T * D, 9), [T, D]);
    const want = await layer.forward(x).read();
    expect(distance(await layer.learn(x, { stage: 'sparse' }).output.read(), want)).toBe(0);
    expect(distance(await layer.learn(x, { stage: 'warm-up' }).output.read(), want)).toBeGreaterThan(1e-3);
    expect(() => layer.learn(x.rows(0, 2), { stage: 'sparse' })).toThrow(/a sequence that closes a window/);
    const heavy = CompressedAttention.init(configOf('heavy'), { backend, seed: 3 });
    expect(() => heavy.learn(x, { stage: 'sparse' })).toThrow(/a sparse compression/);
  });

  it('takes the bytes that are predicted', () => {
    const size = { configs: kinds.map(configOf), maxTokens: 20, sequences: 3, slack: 2 };
    using cache = new CompressedCache(backend, size);
    expect(cache.bytes).toBe(compressedCacheBytes(size));
    // Rings of 7 and entries; rows to pool, of values and gates; the indexer's two.
    const tables = [7 * 8, (2 + 7) * 8, 9 * 16, (6 + 7) * 8, 8 * 32, 6 * 8, 8 * 32];
    expect(cache.bytes).toBe(4 * 3 * tables.reduce((a, b) => a + b, 0));
  });

  it('says what is wrong with a config or a call', () => {
    const wrong = { ...configOf('sparse'), outputGroups: 3, ropeDim: 3, window: 0 };
    expect(() => validateCompressedAttention(wrong)).toThrow(
      /window a positive integer, got 0; ropeDim even, from 2 to the width 8 of a head, got 3; outputGroups a divisor/,
    );
    const layer = CompressedAttention.init(configOf('heavy'), { backend, seed: 1 });
    using arena = new Arena(backend);
    expect(() => layer.forward(arena.zeros([4, 7]))).toThrow(/x \[N, 20\]/);
    using cache = new CompressedCache(backend, { configs: [configOf('heavy')], maxTokens: 16, slack: 1 });
    layer.forward(arena.zeros([12, D]), { cache });
    expect(() => cache.truncate(0, 10)).toThrow(/a length of 0, or 11 or more/);
    cache.truncate(0, 0);
    expect(cache.length(0)).toBe(0);
    expect(() => cache.appendAgain()).toThrow(/no plans/);
  });
});
