import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { HybridCache, hybridCacheBytes, interleavedPlan, type LayerPlan } from './index.ts';

const plan: LayerPlan = { layerTypes: ['local', 'global', 'hybrid'], window: 70 };

describe('HybridCache', () => {
  it('takes the bytes that are predicted for its plan', () => {
    const size = {
      plan: interleavedPlan(9, { window: 8 }),
      width: 20,
      maxTokens: 64,
      sequences: 3,
      slack: 2,
    };
    using cache = new HybridCache(createReference(), size);
    expect(cache.bytes).toBe(hybridCacheBytes(size));
    expect(cache.bytes).toBe(4 * 20 * 3 * (7 * 10 + 2 * 64));
  });

  it('describes a step again as an append describes it', () => {
    const caches = [0, 1].map(
      () => new HybridCache(createReference(), { plan, width: 20, maxTokens: 256, sequences: 3 }),
    );
    const arenas = caches.map(() => new Arena(createReference()));
    const one = (sequence: number) => ({ sequence, count: 1, role: 'generated' as const });
    const batches = caches.map((cache, i) => {
      cache.append(arenas[i]!, [
        { sequence: 1, count: 75, role: 'prompt' },
        { sequence: 0, count: 20, role: 'prompt' },
      ]);
      return cache.append(arenas[i]!, [one(1), one(0)]);
    });
    caches[0]!.appendAgain(batches[0]!, [0, 1]);
    const fresh = caches[1]!.append(arenas[1]!, [one(0), one(1)]);
    const numbers = ({ window }: typeof fresh) =>
      [
        window!.ring.writes,
        window!.ring.named!,
        window!.ring.ranges.parts,
        window!.hybrid.cached.parts,
        window!.hybrid.ofRun.parts,
        window!.lengths,
      ].map((t) => Array.from(t.readSync()));
    expect(numbers(batches[0]!)).toEqual(numbers(fresh));
  });
});
