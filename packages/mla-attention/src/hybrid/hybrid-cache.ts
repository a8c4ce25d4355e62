/**
 * Latents of past tokens for layers that look differently far: all of them for global and hybrid layers, a ring of the
 * last `window` for local ones.
 *
 * Keys are rotated at their own position before they are stored, so nothing is rotated again when slots are reused;
 * what is masked is decided by position, never by slot. A rolled-back token needs the slots that it overwrote:
 * `slack` more of them allow to truncate by that many tokens.
 */
import { type Backend, check, MinkeError } from '@minke/core';
import { type Arena, scatterRows, type Tensor } from '@minke/tensor';
import type { AttentionBatch } from '../batch.ts';
import { type AppendRequest, type CacheSize, SequenceCache } from '../sequence-cache.ts';
import { type LayerPlan, validateLayerPlan } from './layer-plan.ts';
import { rewriteWindowBatch, windowBatch } from './window-batch.ts';

export interface HybridCacheSize extends Omit<CacheSize, 'layers'> {
  readonly plan: LayerPlan;
  /** Numbers of a token's latent and shared key: R + P. */
  readonly width: number;
  /** Tokens that may be taken back at once, beyond those that fit the window. Default 0. */
  readonly slack?: number;
}

/** Slots of a local layer's ring. */
export function ringSlots(window: number, slack: number, maxTokens: number): number {
  return Math.min(window + slack, maxTokens);
}

/** Bytes of device memory that a cache takes. */
export function hybridCacheBytes(size: HybridCacheSize): number {
  const { plan, width, sequences = 1, maxTokens, slack = 0 } = size;
  const ring = ringSlots(plan.window, slack, maxTokens);
  const rows = plan.layerTypes.reduce((sum, type) => sum + (type === 'local' ? ring : maxTokens), 0);
  return 4 * width * sequences * rows;
}

/**
 * @example
 * using cache = new HybridCache(backend, { plan: interleavedPlan(8, { window: 1024 }), width: 576, maxTokens: 32768 });
 */
export class HybridCache extends SequenceCache {
  readonly kind = 'hybrid';
  readonly plan: LayerPlan;
  /** R + P. */
  readonly width: number;
  /** Slots of a sequence in a local layer. */
  readonly ring: number;
  readonly #slack: number;
  /** Of each sequence: how many tokens its rings have seen, taken back ones included. */
  readonly #seen: number[];

  constructor(backend: Backend, size: HybridCacheSize) {
    const { plan, width, slack = 0, sequences = 1, maxTokens } = size;
    validateLayerPlan(plan);
    check(
      Number.isSafeInteger(slack) && slack >= 0,
      () => `createCache: expected a slack of 0 or more, got ${slack}`,
    );
    const ring = ringSlots(plan.window, slack, maxTokens);
    super(backend, { layers: plan.layerTypes.length, sequences, maxTokens }, (layer) => [
      { rows: plan.layerTypes[layer] === 'local' ? ring : maxTokens, width },
    ]);
    this.plan = plan;
    this.width = width;
    this.ring = ring;
    this.#slack = slack;
    this.#seen = new Array<number>(sequences).fill(0);
  }

  /** All rows of a layer, [sequences x (maxTokens or ring), width], persistent. */
  latents(layer: number): Tensor {
    return this.table(layer, 0);
  }

  /** Stores x [N, width] at rows i32 [N]. */
  write(layer: number, x: Tensor, rows: Tensor): void {
    scatterRows(x, rows, this.table(layer, 0));
  }

  override append(arena: Arena, requests: readonly AppendRequest[]): AttentionBatch {
    const batch = super.append(arena, requests);
    this.#count(requests.map(({ sequence }) => sequence));
    return { ...batch, window: windowBatch(arena, batch, this.#shape) };
  }

  override appendAgain(batch: AttentionBatch, sequences: readonly number[]): void {
    const contexts = sequences.map((sequence) => this.length(sequence));
    super.appendAgain(batch, sequences);
    this.#count(sequences);
    const segments = sequences.map((sequence, start) => ({
      ...{ sequence, start, count: 1, context: contexts[start] as number },
      role: 'generated' as const,
    }));
    rewriteWindowBatch(batch.window!, segments, batch.cached!.runs, this.#shape);
  }

  override truncate(sequence: number, length: number): void {
    const seen = this.#seen[sequence] ?? 0;
    if (length > 0 && seen > this.ring && seen - length > this.#slack && length < this.length(sequence)) {
      throw new MinkeError(
        'invalid-argument',
        `truncate: expected a length of 0, or ${seen - this.#slack} or more, whose window is still in the ring, got ${length}; make the cache with more slack`,
      );
    }
    super.truncate(sequence, length);
    if (length === 0) this.#seen[sequence] = 0;
  }

  override copySequence(arena: Arena, from: number, to: number, length: number): void {
    const [seen, held] = [this.#seen[from] ?? 0, this.length(from)];
    check(
      length === held || length === 0 || seen <= this.ring || seen - length <= this.#slack,
      () => `copySequence: expected a length whose window is still in the ring, got ${length} of ${held}`,
    );
    super.copySequence(arena, from, to, length);
    this.#seen[to] = seen;
  }

  override clear(): void {
    super.clear();
    this.#seen.fill(0);
  }

  get #shape() {
    return { window: this.plan.window, ring: this.ring, maxTokens: this.maxTokens };
  }

  #count(sequences: readonly number[]): void {
    for (const sequence of sequences)
      this.#seen[sequence] = Math.max(this.#seen[sequence] as number, this.length(sequence));
  }
}
