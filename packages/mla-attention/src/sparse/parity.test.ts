// Attention as transformers computes it; fixtures by tools/parity/sparse_attention.py.

import { readFileSync } from 'node:fs';
import { createReference } from '@minke/gpu-backends/reference';
import { availableBackends } from '@minke/gpu-backends/testing';
import { Arena, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { packSequences } from '../batch.ts';
import { placedTokens, splitAttention, splitNumbers, splitRanges } from '../hybrid/index.ts';
import { mlaRope } from '../mla-config.ts';
import { distance } from '../testing/tensors.ts';
import { SparseLatentAttention, type SparseMlaConfig, sparseIndexerRope } from './index.ts';

interface Numbers {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
interface Fixture {
  readonly deepseekV32: {
    readonly topK: number;
    readonly x: Numbers;
    readonly y: Numbers;
    readonly parameters: Readonly<Record<string, Numbers>>;
  };
  readonly gptOss: Readonly<Record<'q' | 'k' | 'v' | 'sinks' | 'full' | 'window', Numbers>> & {
    readonly scale: number;
    readonly windowTokens: number;
  };
}
const url = new URL('../../fixtures/sparse-attention.json', import.meta.url);
const { deepseekV32, gptOss } = JSON.parse(readFileSync(url, 'utf8')) as Fixture;

const config: SparseMlaConfig = {
  hiddenSize: 20,
  numHeads: 3,
  qLoraRank: 12,
  kvLoraRank: 16,
  qkNopeHeadDim: 8,
  qkRopeHeadDim: 4,
  vHeadDim: 6,
  maxPositions: 64,
  indexer: { heads: 12, headDim: 8, topK: deepseekV32.topK },
};
const backends = [
  ['reference in f64', createReference({ bits: 64 })] as const,
  ...(await availableBackends()),
];

describe.each(backends)('on %s', (name, backend) => {
  const tolerance = name === 'reference in f64' ? 2e-6 : 2e-5;
  const upload = (arena: Arena, { data, shape }: Numbers): Tensor => arena.tensor(data, shape);

  it.each([false, true])('sparse attention is that of DeepSeek-V3.2, with gradients: %s', async (grad) => {
    const weights = new Arena(backend, { persistent: true });
    const parameters = Object.entries(deepseekV32.parameters).map(
      ([key, numbers]) => [key, weights.parameter(numbers.data, numbers.shape)] as const,
    );
    const layer = new SparseLatentAttention(
      config,
      new Map(parameters),
      mlaRope(config, weights),
      sparseIndexerRope(config, weights),
    );
    using arena = new Arena(backend, { grad });
    const { output } = layer.forward(upload(arena, deepseekV32.x));
    expect(distance(await output.read(), deepseekV32.y.data)).toBeLessThan(tolerance);
  });

  it.each(['full', 'window'] as const)('sinks are those of gpt-oss, %s', async (kind) => {
    using arena = new Arena(backend);
    const { q, k, v, sinks, scale, windowTokens } = gptOss;
    const placed = placedTokens(packSequences(arena, [q.shape[0] as number]));
    const numbers = splitNumbers(placed, kind === 'full' ? 'global' : 'local', windowTokens);
    const o = splitAttention(
      upload(arena, q),
      upload(arena, k),
      upload(arena, v),
      splitRanges(arena, numbers),
      {
        scale,
        sink: upload(arena, sinks),
      },
    );
    expect(distance(await o.read(), gptOss[kind].data)).toBeLessThan(tolerance);
  });
});
