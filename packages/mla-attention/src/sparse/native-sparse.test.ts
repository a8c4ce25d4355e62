// Native sparse attention: as its formulas say (tools/parity/native_sparse_attention.py), dense where it selects
// everything, and the same however tokens arrive.

import { readFileSync } from 'node:fs';
import { createReference } from '@minke/gpu-backends/reference';
import { availableBackends, withoutOps } from '@minke/gpu-backends/testing';
import { Arena, mul, sum, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { attention } from '../attention.ts';
import { packSequences } from '../batch.ts';
import { worstPiece } from '../testing/pieces.ts';
import { distance, normals } from '../testing/tensors.ts';
import {
  NativeSparseAttention,
  NativeSparseCache,
  type NativeSparseConfig,
  nativeSparseCacheBytes,
  nativeSparseRope,
  validateNativeSparse,
} from './index.ts';

interface Numbers {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
type Named = Readonly<Record<string, Numbers>>;
const url = new URL('../../fixtures/native-sparse-attention.json', import.meta.url);
const fixture = JSON.parse(readFileSync(url, 'utf8')) as Readonly<
  Record<'x' | 'y' | 'dy' | 'dx', Numbers>
> & { readonly parameters: Named; readonly gradients: Named };

const [D, T] = [16, 30];
const config: NativeSparseConfig = {
  hiddenSize: D,
  numHeads: 4,
  numKeyValueHeads: 2,
  headDim: 6,
  valueDim: 4,
  compression: { size: 4, stride: 2, hidden: 5 },
  selection: { size: 4, count: 4, initial: 1, local: 2 },
  window: 3,
  maxPositions: 64,
};
const upload = (arena: Arena, { data, shape }: Numbers): Tensor => arena.tensor(data, shape);
const data = normals(2 * T * D, 4);

const lacking = ['gatheredAttention', 'indexerScores', 'selectLargest', 'latentAttention', 'rope'] as const;
const backends = [
  ['reference in f64', createReference({ bits: 64 })] as const,
  ['a backend without the ops', withoutOps(createReference({ bits: 64 }), ...lacking)] as const,
  ...(await availableBackends()),
];

describe.each(backends)('native sparse attention on %s', (name, backend) => {
  const tolerance = name === 'reference in f64' ? 1e-6 : 3e-5;
  /** A layer of the fixture's parameters, some of them replaced. */
  const layerOf = (own: NativeSparseConfig = config, replaced: Named = {}) => {
    const weights = new Arena(backend, { persistent: true });
    const parameters = Object.entries({ ...fixture.parameters, ...replaced }).map(
      ([key, numbers]) => [key, weights.parameter(numbers.data, numbers.shape)] as const,
    );
    return new NativeSparseAttention(own, new Map(parameters), nativeSparseRope(own, weights));
  };
  const layer = layerOf();
  const run = async (of: NativeSparseAttention, numbers: readonly number[], grad = false, lengths = [T]) => {
    using arena = new Arena(backend, { grad });
    const batch = packSequences(arena, lengths);
    return of.forward(arena.tensor(numbers, [numbers.length / D, D]), { batch }).read();
  };

  it('is that of its formulas, and so are its gradients', async () => {
    const { x, y, dy, dx, gradients } = fixture;
    expect(distance(await run(layer, x.data), y.data)).toBeLessThan(tolerance);
    using arena = new Arena(backend, { grad: true });
    const input = arena.parameter(x.data, x.shape);
    const output = layer.forward(input);
    sum(mul(output, upload(arena, dy))).backward();
    expect(distance(await output.read(), y.data)).toBeLessThan(tolerance);
    const near = (want: Numbers) => 20 * tolerance * Math.max(1, ...want.data.map(Math.abs));
    expect(distance(await input.grad!.read(), dx.data)).toBeLessThan(near(dx));
    for (const [key, p] of layer.parameters())
      expect(distance(await p.grad!.read(), gradients[key]!.data), key).toBeLessThan(near(gradients[key]!));
  });

  it('is the same with a cache, in pieces of any size, bit for bit', async () => {
    const want = [await run(layer, data.slice(0, T * D)), await run(layer, data.slice(T * D))];
    const bits = name === 'webgpu' || name.startsWith('a backend') ? 1e-5 : 0;
    for (const seed of [1, 2, 3]) {
      using cache = new NativeSparseCache(backend, { config, layers: 2, maxTokens: 32, sequences: 2 });
      const worst = await worstPiece({
        ...{ backend, cache, data, want, seed, tokens: T, width: D, below: 12 },
        forward: (x, batch) => layer.forward(x, { batch, cache, layer: 1 }),
        after: (random) => {
          if (seed === 3 && random.integer(0, 3) === 0 && cache.length(0) < T)
            cache.truncate(0, Math.max(0, cache.length(0) - 5));
        },
      });
      expect(worst).toBeLessThanOrEqual(bits);
    }
  });

  it('is dense attention of the open branch where that sees everything, and not else', async () => {
    // Gates of exactly zero and one: the output projection sees one branch alone.
    const open = (branch: number): Named => ({
      'gate_proj.weight': { shape: [12, D], data: new Array<number>(12 * D).fill(0) },
      'gate_proj.bias': {
        shape: [12],
        data: Array.from({ length: 12 }, (_, i) => (i % 3 === branch ? 200 : -200)),
      },
    });
    const x = data.slice(0, T * D);
    const { parameters } = fixture;
    for (const [branch, prefix, all, few] of [
      [1, 'selected', { ...config, selection: { ...config.selection, count: 8 } }, config],
      [2, 'window', { ...config, window: T }, config],
    ] as const) {
      using arena = new Arena(backend);
      const rope = nativeSparseRope(config, new Arena(backend, { persistent: true }));
      const batch = packSequences(arena, [T]);
      const project = (key: string, heads: number) => {
        const rows = parameters[key]!.shape[0]!;
        const product = Array.from({ length: T * rows }, (_, i) => {
          const [t, row] = [Math.floor(i / rows), i % rows];
          let total = 0;
          for (let c = 0; c < D; c++) total += x[t * D + c]! * parameters[key]!.data[row * D + c]!;
          return total;
        });
        return arena.tensor(product, [T, heads, rows / heads]);
      };
      const q = rope.apply(project('q_proj.weight', 4), batch.positions);
      const k = rope.apply(project(`${prefix}.k_proj.weight`, 2), batch.positions);
      const o = await attention(q, k, project(`${prefix}.v_proj.weight`, 2), batch.ranges, {
        scale: 6 ** -0.5,
      }).read();
      const out = parameters['o_proj.weight']!.data;
      const dense = Array.from({ length: T * D }, (_, i) => {
        let total = 0;
        for (let c = 0; c < 16; c++) total += o[Math.floor(i / D) * 16 + c]! * out[(i % D) * 16 + c]!;
        return total;
      });
      for (const grad of [false, true]) {
        const got = await run(layerOf(all, open(branch)), x, grad);
        expect(distance(got, dense)).toBeLessThan(3 * tolerance);
        expect(distance(await run(layerOf(few, open(branch)), x, grad), dense)).toBeGreaterThan(1e-2);
      }
    }
  });

  it('does not look ahead, nor into other sequences, and begins before the first whole block', async () => {
    const before = await run(layer, data, false, [T, T]);
    const after = await run(
      layer,
      data.map((x, i) => (i < 20 * D ? x : -x)),
      false,
      [T, T],
    );
    expect(distance(before.slice(0, 20 * D), after.slice(0, 20 * D))).toBe(0);
    expect(distance(before.slice(20 * D, 21 * D), after.slice(20 * D, 21 * D))).toBeGreaterThan(1e-3);
    expect(distance(before.slice(0, T * D), await run(layer, data.slice(0, T * D)))).toBe(0);
    const short = await run(layer, data.slice(0, 2 * D), false, [2]);
    expect(distance(short, before.slice(0, 2 * D))).toBe(0);
    expect(short.every(Number.isFinite)).toBe(true);
  });
});

describe('native sparse attention', () => {
  const backend = createReference();

  it('takes the bytes that are predicted', () => {
    const size = { config, layers: 2, maxTokens: 20, sequences: 3 };
    using cache = new NativeSparseCache(backend, size);
    expect(cache.bytes).toBe(nativeSparseCacheBytes(size));
    // Two key heads, rows of 10 numbers: three branches of 20 tokens, 9 compressed blocks.
    expect(cache.bytes).toBe(4 * 2 * 3 * 2 * 10 * (3 * 20 + 9));
  });

  it('says what is wrong with a config or a call', () => {
    const wrong = {
      ...config,
      numKeyValueHeads: 3,
      compression: { size: 6, stride: 4, hidden: 0 },
      selection: { size: 4, count: 2, initial: 1, local: 2 },
    };
    expect(() => validateNativeSparse(wrong)).toThrow(
      /compression.hidden an integer of 1 or more, got 0; numKeyValueHeads a divisor of numHeads 4, got 3; compression.stride a divisor of both sizes.*selection.count at least initial and local 3, got 2/,
    );
    const layer = NativeSparseAttention.init(config, { backend, seed: 1 });
    using arena = new Arena(backend);
    expect(() => layer.forward(arena.zeros([4, 7]))).toThrow(/x \[N, 16\]/);
  });
});
