/**
 * What native sparse attention keeps of past tokens: for every key head the rows [value, key] of its three branches,
 * and those of the compressed blocks.
 */
import type { Backend } from '@minke/core';
import { scatterRows, type Tensor } from '@minke/tensor';
import { type CacheSize, SequenceCache, type TableSize } from '../sequence-cache.ts';
import { blocksWithin, branches, type NativeSparseConfig } from './native-config.ts';

export interface NativeSparseCacheSize extends CacheSize {
  readonly config: NativeSparseConfig;
}

/** Of each key head: the branches' rows, then the compressed blocks. */
function tablesOf({ config, maxTokens }: NativeSparseCacheSize): TableSize[] {
  const width = config.valueDim + config.headDim;
  return Array.from({ length: config.numKeyValueHeads }, () => [
    ...branches.map(() => ({ rows: maxTokens, width })),
    { rows: blocksWithin(config, maxTokens), width },
  ]).flat();
}

/** Bytes of device memory that a cache takes. */
export function nativeSparseCacheBytes(size: NativeSparseCacheSize): number {
  const { layers = 1, sequences = 1 } = size;
  return 4 * layers * sequences * tablesOf(size).reduce((sum, { rows, width }) => sum + rows * width, 0);
}

/**
 * @example
 * using cache = new NativeSparseCache(backend, { config, layers: 2, maxTokens: 32768 });
 */
export class NativeSparseCache extends SequenceCache {
  readonly kind = 'native-sparse';
  readonly #sizes: readonly TableSize[];

  constructor(backend: Backend, size: NativeSparseCacheSize) {
    const sizes = tablesOf(size);
    super(backend, size, () => sizes);
    this.#sizes = sizes;
  }

  /** Rows of a sequence: of a branch (0 to 2), or of the compressed blocks (3), for a key head. */
  rows(layer: number, head: number, table: number, sequence: number): Tensor {
    const index = head * (branches.length + 1) + table;
    const { rows } = this.#sizes[index]!;
    return this.table(layer, index).rows(sequence * rows, (sequence + 1) * rows);
  }

  /** Stores rows start .. start + N of a table. */
  write(layer: number, head: number, table: number, sequence: number, x: Tensor, start: number): void {
    const count = x.shape[0] as number;
    if (count === 0) return;
    const places = Array.from({ length: count }, (_, i) => start + i);
    scatterRows(x, x.arena.tensor(places, [count], 'i32'), this.rows(layer, head, table, sequence));
  }
}
