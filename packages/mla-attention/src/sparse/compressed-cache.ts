/**
 * What V4's attention keeps of past tokens, by layer: the pooled entries of all closed windows, a ring of the last raw
 * keys, a ring of the rows that the next entries are made of, and the indexer's two of these.
 *
 * Slots are positions modulo the ring's size. A rolled-back token needs the slots that it overwrote: `slack` more of
 * them allow to truncate by that many tokens.
 */
import { type Backend, check, MinkeError } from '@minke/core';
import { type Arena, scatterRows, type Tensor } from '@minke/tensor';
import type { AttentionBatch } from '../batch.ts';
import { type AppendRequest, type CacheSize, SequenceCache, type TableSize } from '../sequence-cache.ts';
import { type CompressedAttentionConfig, windowsOf } from './compressed-config.ts';

export interface CompressedCacheSize extends Omit<CacheSize, 'layers'> {
  /** One for each layer. */
  readonly configs: readonly CompressedAttentionConfig[];
  /** Tokens that may be taken back at once. Default 0. */
  readonly slack?: number;
}

/** Tables of a layer: keys, rows to pool, and where there is an indexer its keys and rows. */
function tablesOf(
  { window, headDim, compression }: CompressedAttentionConfig,
  maxTokens: number,
  slack: number,
): TableSize[] {
  const ring = Math.min(window + slack, maxTokens);
  if (!compression) return [{ rows: ring, width: headDim }];
  const { ratio } = compression;
  const halves = windowsOf(compression);
  const entries = Math.floor(maxTokens / ratio);
  const open = Math.min(halves * ratio + slack, maxTokens);
  const tables = [
    { rows: entries + ring, width: headDim },
    { rows: open, width: 2 * halves * headDim },
  ];
  if (compression.kind === 'sparse') {
    const { headDim: width } = compression.indexer;
    tables.push({ rows: entries, width }, { rows: open, width: 2 * halves * width });
  }
  return tables;
}

/** Bytes of device memory that a cache takes. */
export function compressedCacheBytes(size: CompressedCacheSize): number {
  const { configs, sequences = 1, maxTokens, slack = 0 } = size;
  const tables = configs.flatMap((config) => tablesOf(config, maxTokens, slack));
  return 4 * sequences * tables.reduce((sum, { rows, width }) => sum + rows * width, 0);
}

/**
 * @example
 * using cache = new CompressedCache(backend, { configs: [config], maxTokens: 32768 });
 */
export class CompressedCache extends SequenceCache {
  readonly kind = 'compressed';
  readonly slack: number;
  readonly #configs: readonly CompressedAttentionConfig[];
  readonly #sizes: readonly (readonly TableSize[])[];
  /** Of each sequence: how many tokens its rings have seen, taken back ones included. */
  readonly #seen: number[];

  constructor(backend: Backend, size: CompressedCacheSize) {
    const { configs, maxTokens, sequences = 1, slack = 0 } = size;
    check(
      Number.isSafeInteger(slack) && slack >= 0,
      () => `createCache: expected a slack of 0 or more, got ${slack}`,
    );
    const sizes = configs.map((config) => tablesOf(config, maxTokens, slack));
    super(backend, { layers: configs.length, sequences, maxTokens }, (layer) => sizes[layer]!);
    this.slack = slack;
    this.#configs = configs;
    this.#sizes = sizes;
    this.#seen = new Array<number>(sequences).fill(0);
  }

  /** Entries that a layer holds at most, which are the first rows of a sequence's keys. */
  entries(layer: number): number {
    const { compression } = this.#configs[layer]!;
    return compression ? Math.floor(this.maxTokens / compression.ratio) : 0;
  }

  /** Rows of a sequence in a table of a layer: 0 keys, 1 rows to pool, 2 the indexer's keys, 3 its rows. */
  rows(layer: number, table: number, sequence: number): Tensor {
    const { rows } = this.#sizes[layer]![table]!;
    return this.table(layer, table).rows(sequence * rows, (sequence + 1) * rows);
  }

  /** Slots of a ring. */
  slots(layer: number, table: number): number {
    return this.#sizes[layer]![table]!.rows - (table === 0 ? this.entries(layer) : 0);
  }

  /** Where a position lies in a table with a ring. */
  slot(layer: number, table: number, position: number): number {
    return (table === 0 ? this.entries(layer) : 0) + (position % this.slots(layer, table));
  }

  /** Stores the last rows of x, of positions start .. start + N, in a ring. */
  writeRing(layer: number, table: number, sequence: number, x: Tensor, start: number): void {
    const count = x.shape[0] as number;
    const kept = Math.min(count, this.slots(layer, table));
    const slots = Array.from({ length: kept }, (_, i) => this.slot(layer, table, start + count - kept + i));
    const places = x.arena.tensor(slots, [kept], 'i32');
    scatterRows(x.rows(count - kept, count), places, this.rows(layer, table, sequence));
  }

  /** Stores entries first .. first + N of a layer's pool: of keys (table 0), or of the indexer (table 2). */
  writeEntries(layer: number, table: number, sequence: number, x: Tensor, first: number): void {
    const count = x.shape[0] as number;
    if (count === 0) return;
    const rows = Array.from({ length: count }, (_, i) => first + i);
    scatterRows(x, x.arena.tensor(rows, [count], 'i32'), this.rows(layer, table, sequence));
  }

  override append(arena: Arena, requests: readonly AppendRequest[]): AttentionBatch {
    const batch = super.append(arena, requests);
    for (const { sequence } of requests)
      this.#seen[sequence] = Math.max(this.#seen[sequence] as number, this.length(sequence));
    return batch;
  }

  /** Plans of a step cannot be replayed: which rows a token reads is settled on the host. */
  override appendAgain(): never {
    throw new MinkeError('unsupported', 'appendAgain: a compressed cache has no plans; append instead');
  }

  override truncate(sequence: number, length: number): void {
    this.#checkRings('truncate', sequence, length);
    super.truncate(sequence, length);
    if (length === 0) this.#seen[sequence] = 0;
  }

  override copySequence(arena: Arena, from: number, to: number, length: number): void {
    this.#checkRings('copySequence', from, length);
    super.copySequence(arena, from, to, length);
    this.#seen[to] = this.#seen[from] as number;
  }

  override clear(): void {
    super.clear();
    this.#seen.fill(0);
  }

  #checkRings(where: string, sequence: number, length: number): void {
    const [seen, held] = [this.#seen[sequence] ?? 0, this.length(sequence)];
    check(
      length === 0 || length >= held || seen - length <= this.slack,
      () =>
        `${where}: expected a length of 0, or ${seen - this.slack} or more, whose rows are still in the rings, got ${length}; make the cache with more slack`,
    );
  }
}
