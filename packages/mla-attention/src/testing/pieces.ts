/** Two sequences fed to a cache in pieces: what every layer with a cache must compute as if they came whole. */
import { type Backend, Random } from '@minke/core';
import { Arena, type Tensor } from '@minke/tensor';
import type { AttentionBatch } from '../batch.ts';
import type { SequenceCache } from '../sequence-cache.ts';
import { distance } from './tensors.ts';

export interface Pieces {
  readonly backend: Backend;
  /** For two sequences; empty. */
  readonly cache: SequenceCache;
  /** Both inputs one after another, [2, tokens, width]. */
  readonly data: readonly number[];
  readonly tokens: number;
  readonly width: number;
  /** What comes out for each sequence whole, [tokens, width]. */
  readonly want: readonly ArrayLike<number>[];
  /** Of the sizes; 1 feeds token by token. */
  readonly seed: number;
  /** Sizes are below this. */
  readonly below: number;
  readonly forward: (x: Tensor, batch: AttentionBatch) => Tensor;
  /** Called after each piece; may take tokens back, which come again. */
  readonly after?: (random: Random) => void;
}

/** The largest difference between any piece's output and the same rows of the whole. */
export async function worstPiece(pieces: Pieces): Promise<number> {
  const { backend, cache, data, tokens, width, want, seed, below, forward, after } = pieces;
  const random = new Random(seed);
  let worst = 0;
  while (cache.length(0) < tokens || cache.length(1) < tokens) {
    using arena = new Arena(backend);
    const requests = [1, 0].flatMap((sequence) => {
      const count = Math.min(seed === 1 ? 1 : random.integer(0, below), tokens - cache.length(sequence));
      return count > 0 ? [{ sequence, count, role: 'generated' as const }] : [];
    });
    if (requests.length === 0) continue;
    const parts = requests.map(({ sequence, count }) => {
      const [a, b] = [cache.length(sequence) * width, (cache.length(sequence) + count) * width];
      const start = sequence * tokens * width;
      return {
        x: data.slice(start + a, start + b),
        y: Array.from(want[sequence] as ArrayLike<number>).slice(a, b),
      };
    });
    const batch = cache.append(arena, requests);
    const x = parts.flatMap((part) => part.x);
    const y = await forward(arena.tensor(x, [x.length / width, width]), batch).read();
    const off = distance(
      y,
      parts.flatMap((part) => part.y),
    );
    worst = Math.max(worst, off);
    after?.(random);
  }
  return worst;
}
