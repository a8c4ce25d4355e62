/**
 * What a model that merges remembers of its sequences: a cache with a row for each token (outer layers), one with a
 * row for each entry (middle layers), and where merging stands.
 *
 * Sequences can be cut back to any token, as guesses and shared beginnings ask for: rows of a cache are never changed by
 * later tokens, so a place is their number and the few rows that merging holds there. These are remembered for
 * `rollback` tokens back, or copied by whoever saves the place.
 */
import { type Backend, check, MinkeError } from '@minke/core';
import {
  type AppendRequest,
  type AttentionBatch,
  type AttentionCache,
  type AttentionForm,
  createMlaCache,
} from '@minke/mla-attention';
import type { Arena } from '@minke/tensor';
import type { MergeState, SoftTokenMerger } from '@minke/tokenizer-merging/merging';
import { attentionConfig, type DeepSeekConfig } from './config.ts';
import type { MergingConfig } from './merging-config.ts';

/** How much a `MergingState` holds. */
export interface MergingStateSize {
  /** Tokens each sequence may reach. */
  readonly maxTokens: number;
  /** Entries each sequence may reach. Default `maxTokens`, which always suffices. */
  readonly maxEntries?: number;
  /** Default 1. */
  readonly sequences?: number;
  /**
   * Tokens that `truncate` can take back, two rows as wide as the model each, three with a convolution. Default
   * `maxTokens`: any of them. With 0 places must be saved before they can be returned to.
   */
  readonly rollback?: number;
  /** What the caches keep: latents (default), or every head's keys and values. */
  readonly form?: AttentionForm;
}

/** Bytes that a `MergingState` of a size holds, without making it: caches of outer and middle layers, and merging's. */
export function mergingStateBytes(
  config: DeepSeekConfig,
  { preLayers, postLayers, maxRun = 8, sizeBias, convKernel = 1 }: MergingConfig,
  size: MergingStateSize,
): { outer: number; middle: number; merge: number } {
  const { maxTokens, maxEntries = maxTokens, sequences = 1, form, rollback = maxTokens } = size;
  const { kvLoraRank, numHeads, qkNopeHeadDim, qkRopeHeadDim, vHeadDim } = config;
  const row = (bias: number) =>
    form === 'expanded'
      ? numHeads * (qkNopeHeadDim + qkRopeHeadDim + bias + vHeadDim)
      : kvLoraRank + qkRopeHeadDim + bias;
  const inputs = convKernel > 1 ? convKernel - 1 + rollback : 0;
  const layers = preLayers + postLayers;
  const of = (numbers: number) => 4 * sequences * numbers;
  return {
    outer: of(layers * maxTokens * row(0)),
    middle: of((config.numLayers - layers) * maxEntries * row(Number(sizeBias !== 0))),
    merge: of((maxRun + 2 * rollback + 1 + inputs) * config.hiddenSize),
  };
}

/** A place in some sequences, from `MergingState.save`. Dispose it when done. */
export interface SavedPlace extends Disposable {
  readonly sequences: readonly number[];
  /** Tokens and entries of each. */
  readonly lengths: readonly number[];
  readonly entries: readonly number[];
  /** @internal */
  readonly merge: MergeState;
}

/** Made by `MergingTransformer.createState`. */
export class MergingState {
  /** @internal Rows of tokens, for the outer layers. */
  readonly outer: AttentionCache;
  /** @internal Rows of entries, for the middle layers. */
  readonly middle: AttentionCache;
  /** @internal */
  readonly merge: MergeState;

  /** @internal */
  constructor(
    backend: Backend,
    config: DeepSeekConfig,
    { preLayers, postLayers, sizeBias, convKernel = 1 }: MergingConfig,
    merger: SoftTokenMerger,
    size: MergingStateSize,
  ) {
    const {
      maxTokens,
      maxEntries = maxTokens,
      sequences = 1,
      form = 'absorbed',
      rollback = maxTokens,
    } = size;
    check(
      maxTokens <= config.maxPositions,
      () =>
        `createState: expected at most ${config.maxPositions} tokens (the model's context), got ${maxTokens}`,
    );
    const layers = preLayers + postLayers;
    const shape = attentionConfig(config);
    this.outer = createMlaCache(backend, shape, { layers, sequences, maxTokens, form });
    this.middle = createMlaCache(backend, shape, {
      layers: config.numLayers - layers,
      sequences,
      maxTokens: maxEntries,
      form,
      keyBias: sizeBias !== 0,
    });
    this.merge = merger.createState({ backend, sequences, rollback, kernel: convKernel });
  }

  /** Bytes of device memory held. */
  get bytes(): number {
    return this.outer.bytes + this.middle.bytes + this.merge.bytes;
  }

  /** Tokens a sequence holds. */
  length(sequence: number): number {
    return this.outer.length(sequence);
  }

  /** Entries a sequence holds: rows in the caches of the middle layers. */
  entries(sequence: number): number {
    return this.middle.length(sequence);
  }

  /**
   * Reserves rows for new tokens, as a cache's `append` does; `MergingTransformer.forward` over the batch fills them.
   * Throws `context-overflow`, with nothing reserved, when they would not fit if none of them were merged.
   */
  append(arena: Arena, requests: readonly AppendRequest[]): AttentionBatch {
    for (const { sequence, count } of requests) {
      const entries = this.entries(sequence);
      const { maxTokens: maxEntries } = this.middle;
      if (entries + count > maxEntries)
        throw new MinkeError(
          'context-overflow',
          `append: expected at most ${maxEntries} entries a sequence, got ${entries} and ${count} new tokens; make a larger state or append fewer tokens at a time`,
          { details: { sequence, entries, count, maxEntries } },
        );
    }
    return this.outer.append(arena, requests);
  }

  /** Whether a sequence can be cut back to so many tokens. */
  reaches(sequence: number, length: number): boolean {
    return this.merge.reaches(sequence, length);
  }

  /**
   * Forgets the tokens of a sequence from `length` on, and the entries they made. What comes next is computed as if
   * they had never been there, bit for bit. Throws `invalid-argument`, with nothing forgotten, for a length further back
   * than the state remembers.
   *
   * @example
   * // after a forward pass over 4 guesses of which 1 was right
   * state.truncate(0, state.length(0) - 3);
   */
  truncate(sequence: number, length: number): void {
    const entries = this.merge.truncate(sequence, length);
    this.outer.truncate(sequence, length);
    this.middle.truncate(sequence, entries);
  }

  /**
   * Makes sequence `to` hold the first `length` tokens of `from`, whatever it held: a shared beginning.
   * @param arena the transient arena of the next pass
   */
  copySequence(arena: Arena, from: number, to: number, length: number): void {
    const entries = this.merge.copySequence(arena, from, to, length);
    this.outer.copySequence(arena, from, to, length);
    this.middle.copySequence(arena, from, to, entries);
  }

  /**
   * Remembers where sequences stand.
   *
   * @example
   * using place = state.save([0]);
   * // forward passes over guesses of sequence 0
   * state.restore(place);
   */
  save(sequences: readonly number[]): SavedPlace {
    const merge = this.merge.clone(sequences);
    return {
      sequences,
      lengths: sequences.map((sequence) => this.length(sequence)),
      entries: sequences.map((sequence) => this.entries(sequence)),
      merge,
      [Symbol.dispose]: () => merge.dispose(),
    };
  }

  /**
   * Goes back to a place, however far: everything after it is forgotten. The sequences must have gone on from there.
   * `truncate` reaches no further back than that afterwards.
   */
  restore(place: SavedPlace): void {
    const { sequences, lengths, entries, merge } = place;
    sequences.forEach((sequence, i) => {
      this.outer.truncate(sequence, lengths[i] as number);
      this.middle.truncate(sequence, entries[i] as number);
    });
    this.merge.restore(merge, sequences);
  }

  /**
   * Makes sequence `to` hold what a place in one sequence held, whatever `to` held: a shared prefix.
   * @param arena the transient arena of the next pass
   */
  copyTo(arena: Arena, place: SavedPlace, to: number): void {
    const { sequences, lengths, entries } = place;
    check(sequences.length === 1, () => `copyTo: expected a place in one sequence, got ${sequences.length}`);
    const [from, length, count] = [sequences[0], lengths[0], entries[0]] as [number, number, number];
    this.outer.copySequence(arena, from, to, length);
    this.middle.copySequence(arena, from, to, count);
    this.merge.restore(place.merge, [to]);
  }

  /** Forgets a sequence. */
  clear(sequence: number): void {
    this.outer.truncate(sequence, 0);
    this.middle.truncate(sequence, 0);
    this.merge.clear(sequence);
  }

  /** Gives the memory back. */
  dispose(): void {
    this.outer.dispose();
    this.middle.dispose();
    this.merge.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
