/**
 * Rows of tables that sequences own, reserve, share and give back: what caches of attention have in common.
 *
 * Each sequence owns a contiguous region of `maxTokens` rows; memory for all of them is taken when the cache is made.
 * What is stored are functions of the weights: after an optimiser step, `clear()` first. No gradient passes through a
 * cache.
 */
import { type Backend, byteLength, check, type DType, MinkeError } from '@minke/core';
import { Arena, call, type Tensor } from '@minke/tensor';
import {
  type AttentionBatch,
  cachedBatch,
  type Place,
  rewriteCachedBatch,
  type Segment,
  type TokenRole,
} from './batch.ts';

export interface CacheSize {
  /** Layers that share the sequence layout. Default 1. */
  readonly layers?: number;
  /** Sequences held at a time. Default 1. */
  readonly sequences?: number;
  /** Tokens each sequence may reach. */
  readonly maxTokens: number;
}

/** New tokens of one sequence. */
export interface AppendRequest {
  /** Index below `cache.sequences`. */
  readonly sequence: number;
  /** New tokens, at least 1. */
  readonly count: number;
  readonly role: TokenRole;
}

/** A table of a layer: rows of each sequence, numbers of a row, and how they are stored (default f32). */
export interface TableSize {
  readonly rows: number;
  readonly width: number;
  readonly dtype?: DType;
}

/** Sequence bookkeeping and storage that caches share. */
export abstract class SequenceCache {
  readonly layers: number;
  readonly sequences: number;
  /** Tokens each sequence may reach. */
  readonly maxTokens: number;
  readonly #arena: Arena;
  readonly #tables: Tensor[][];
  /** Rows that each sequence has in each table of each layer. */
  readonly #rowsEach: readonly (readonly number[])[];
  readonly #lengths: number[];
  /** Of each sequence: whose first tokens it begins with, and how many; the sequence may be that one itself. */
  readonly #prefixes: ({ readonly owner: number; readonly length: number } | null)[];

  /**
   * @param tables numbers a token takes in each table of a layer, with `maxTokens` rows a sequence; or the tables of
   * a given layer
   */
  protected constructor(
    backend: Backend,
    size: CacheSize,
    tables: readonly number[] | ((layer: number) => readonly TableSize[]),
  ) {
    const { layers = 1, sequences = 1, maxTokens } = size;
    for (const [name, value] of Object.entries({ layers, sequences, maxTokens })) {
      check(
        Number.isSafeInteger(value) && value >= 1,
        () => `createCache: expected ${name} of 1 or more, got ${value}`,
      );
    }
    this.layers = layers;
    this.sequences = sequences;
    this.maxTokens = maxTokens;
    this.#lengths = new Array<number>(sequences).fill(0);
    this.#prefixes = new Array<null>(sequences).fill(null);
    this.#arena = new Arena(backend, { persistent: true, label: 'attention cache' });
    const sizes = Array.from({ length: layers }, (_, layer): readonly TableSize[] =>
      typeof tables === 'function' ? tables(layer) : tables.map((width) => ({ rows: maxTokens, width })),
    );
    this.#rowsEach = sizes.map((each) => each.map(({ rows }) => rows));
    this.#tables = sizes.map((each) =>
      each.map(({ rows, width, dtype }) => this.#arena.zeros([sequences * rows, width], dtype)),
    );
    this.#arena.submit();
  }

  /** Bytes of device memory held. */
  get bytes(): number {
    return this.#tables.flat().reduce((sum, table) => sum + byteLength(table.dtype, table.size), 0);
  }

  /** Tokens a sequence holds. */
  length(sequence: number): number {
    this.#checkSequence(sequence, 'length');
    return this.#lengths[sequence] as number;
  }

  /**
   * Reserves rows for new tokens and returns the batch that describes them; the next forward pass over that batch
   * fills them. Requests keep their order: their tokens are the rows of the batch, one request after another.
   * Throws `context-overflow` when a sequence would exceed `maxTokens`; then nothing is reserved.
   * @param arena the transient arena of the forward pass
   */
  append(arena: Arena, requests: readonly AppendRequest[]): AttentionBatch {
    return this.#reserve(requests, (segments, places) => cachedBatch(arena, segments, places));
  }

  /**
   * Reserves one row of each sequence, for its next generated token, and writes what describes them into `batch`,
   * which an `append` of as many generated tokens made: for plans (`Arena.keep`) of a decoding step.
   */
  appendAgain(batch: AttentionBatch, sequences: readonly number[]): void {
    const one = (segment: Segment) => segment.count === 1 && segment.role === 'generated';
    check(
      batch.segments?.length === sequences.length && batch.segments.every(one),
      () =>
        `appendAgain: expected a batch of ${sequences.length} sequences with one generated token each, got another`,
    );
    const requests = sequences.map((sequence) => ({ sequence, count: 1, role: 'generated' as const }));
    this.#reserve(requests, (segments, places) => rewriteCachedBatch(batch, segments, places));
  }

  /** Whether a recorded pass follows what `appendAgain` writes. */
  get repeats(): boolean {
    return true;
  }

  /** Makes sequence `to` hold the first `length` tokens of `from`, whatever it held; recorded in `arena`. */
  copySequence(arena: Arena, from: number, to: number, length: number): void {
    this.#checkPair('copySequence', from, to, length);
    const { owner, length: borrowed } = this.#prefixes[from] ?? { owner: from, length: 0 };
    const split = Math.min(borrowed, length);
    this.#tables.forEach((tables, layer) => {
      tables.forEach((table, index) => {
        const each = this.#rowsEach[layer]![index] as number;
        const whole = each === this.maxTokens;
        const pieces = whole
          ? ([
              [owner, 0, split],
              [from, split, length],
            ] as const)
          : ([[from, 0, each]] as const);
        for (const [source, start, end] of pieces) {
          if (start === end) continue;
          const part = (sequence: number) => table.rows(sequence * each + start, sequence * each + end);
          call('copyInto', [part(source), part(to)], {}, arena);
        }
      });
    });
    this.#lengths[to] = length;
    this.#prefixes[to] = null;
  }

  /** Whether `shareSequence` may be called. */
  get sharesPrefixes(): boolean {
    return false;
  }

  /**
   * Makes sequence `to` hold the first `length` tokens of `from`, whatever it held, without a copy: both read the
   * rows of `from`, which keeps them (`lends`) until `to` is truncated to nothing. The bits are those of a copy.
   */
  shareSequence(from: number, to: number, length: number): void {
    this.#checkPair('shareSequence', from, to, length);
    const { owner, length: lent } = this.#prefixes[from] ?? { owner: from, length: 0 };
    check(
      this.sharesPrefixes && owner === from && length >= 1,
      () =>
        `shareSequence: expected a cache that shares, tokens that are the sequence's own and a length of 1 or more, got ${this.sharesPrefixes}, tokens of ${owner} for ${from}, and ${length}`,
    );
    this.#prefixes[from] = { owner: from, length: Math.max(lent, length) };
    this.#prefixes[to] = { owner: from, length };
    this.#lengths[to] = length;
  }

  /** Whether another sequence reads rows of this one. */
  lends(sequence: number): boolean {
    return this.#prefixes.some((prefix, s) => prefix?.owner === sequence && s !== sequence);
  }

  /** Whether a batch of these sequences has ranges of two parts. */
  shares(sequences: readonly number[]): boolean {
    return sequences.some((sequence) => this.#prefixes[sequence] != null);
  }

  /** Checks requests and hands their segments on; the sequences grow only when that succeeds. */
  #reserve<T>(
    requests: readonly AppendRequest[],
    use: (segments: readonly Segment[], places: readonly Place[]) => T,
  ): T {
    const segments: Segment[] = [];
    const seen = new Set<number>();
    let start = 0;
    for (const { sequence, count, role } of requests) {
      this.#checkSequence(sequence, 'append');
      check(!seen.has(sequence), () => `append: expected each sequence once, got ${sequence} twice`);
      check(
        Number.isSafeInteger(count) && count >= 1,
        () => `append: expected a count of 1 or more, got ${count}`,
      );
      seen.add(sequence);
      const context = this.#lengths[sequence] as number;
      if (context + count > this.maxTokens) {
        throw new MinkeError(
          'context-overflow',
          `append: expected at most ${this.maxTokens} tokens a sequence, got ${context} + ${count}; make a larger cache or truncate`,
          { details: { sequence, context, count, maxTokens: this.maxTokens } },
        );
      }
      segments.push({ sequence, start, count, context, role });
      start += count;
    }
    const result = use(
      segments,
      segments.map(({ sequence }) => this.#place(sequence)),
    );
    for (const { sequence, count, context } of segments) this.#lengths[sequence] = context + count;
    return result;
  }

  /** Forgets the tokens of a sequence from `length` on. */
  truncate(sequence: number, length: number): void {
    const held = this.length(sequence);
    check(
      Number.isSafeInteger(length) && length >= 0 && length <= held,
      () => `truncate: expected a length from 0 to ${held}, got ${length}`,
    );
    const prefix = this.#prefixes[sequence] ?? null;
    if (prefix !== null && length < prefix.length) {
      check(
        !this.lends(sequence),
        () =>
          `truncate: expected at least ${prefix.length} tokens of sequence ${sequence}, which others read too, got ${length}; truncate those first`,
      );
      const borrows = prefix.owner !== sequence && length > 0;
      this.#prefixes[sequence] = borrows ? { ...prefix, length } : null;
    }
    this.#lengths[sequence] = length;
  }

  /** Forgets every sequence; the memory is kept. */
  clear(): void {
    this.#lengths.fill(0);
    this.#prefixes.fill(null);
  }

  /** Gives the memory back; the cache is unusable afterwards. */
  dispose(): void {
    this.#arena.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #place(sequence: number): Place {
    const prefix = this.#prefixes[sequence] ?? null;
    return {
      region: sequence * this.maxTokens,
      prefix: prefix && { region: prefix.owner * this.maxTokens, length: prefix.length },
    };
  }

  #checkPair(where: string, from: number, to: number, length: number): void {
    const held = this.length(from);
    this.#checkSequence(to, where);
    check(
      Number.isSafeInteger(length) && length >= 0 && length <= held && from !== to,
      () =>
        `${where}: expected another sequence and a length from 0 to ${held}, got ${from} to ${to} and ${length}`,
    );
    check(!this.lends(to), () => `${where}: expected a sequence whose rows no other reads, got ${to}`);
  }

  protected table(layer: number, index: number): Tensor {
    const table = this.#tables[layer]?.[index];
    check(table !== undefined, () => `cache: expected a layer below ${this.layers}, got ${layer}`);
    return table;
  }

  #checkSequence(sequence: number, where: string): void {
    check(
      Number.isSafeInteger(sequence) && sequence >= 0 && sequence < this.sequences,
      () => `${where}: expected a sequence below ${this.sequences}, got ${sequence}`,
    );
  }
}
