/**
 * A model with the memory of its sequences, as a step of the engine uses both: one interface for models that keep a row
 * a token (`ModelCache`) and for those that merge tokens in their middle layers (`MergingState`).
 *
 * A merging model reads its router's probabilities on the way, so its passes cannot be recorded once and repeated, and
 * each sequence has entries of its own, so a shared prompt is copied.
 */
import { check } from '@minke/core';
import type { AppendRequest, AttentionBatch, AttentionForm, CacheType } from '@minke/mla-attention';
import type { Arena, Tensor } from '@minke/tensor';
import {
  type DeepSeekModel,
  isMerging,
  type MergingTransformer,
  type ModelBatch,
  type TransformerModel,
} from '@minke/transformer';

/** Memory for `slots` sequences. */
export interface StepMemory {
  readonly slots: number;
  readonly maxTokens: number;
  /** Pins the form of attention. Default: by token role, beside latents. */
  readonly form?: AttentionForm | undefined;
  /** How past tokens are stored. Default f32. */
  readonly cacheType?: CacheType | undefined;
  /** Tokens that one pass adds to a sequence at most: a failed pass is taken back. Default `maxTokens`. */
  readonly maxChunk?: number | undefined;
}

export interface StepModel {
  /** Bytes of memory held. */
  readonly bytes: number;
  /** Whether a recorded pass follows `appendAgain`. */
  readonly repeats: boolean;
  /** Tokens a sequence holds. */
  length(slot: number): number;
  /** Forgets the tokens of the last pass from `length` on. */
  takeBack(slot: number, length: number): void;
  /** Forgets a sequence. */
  clear(slot: number): void;
  /** Makes `to` hold what `from` holds; where the memory can, it reads it there (`lends`). */
  share(arena: Arena, from: number, to: number): void;
  /** Whether another sequence reads what this one holds. */
  lends(slot: number): boolean;
  /** Whether some of the sequences read rows of others: recorded passes of the two kinds differ. */
  shares(slots: readonly number[]): boolean;
  append(arena: Arena, requests: readonly AppendRequest[]): AttentionBatch;
  appendAgain(batch: AttentionBatch, slots: readonly number[]): void;
  /** Logits after the last row of each sequence of the batch, [sequences, V]. */
  logits(batch: ModelBatch): Tensor | Promise<Tensor>;
  dispose(): void;
}

/** Takes the memory. Throws `out-of-memory`. */
export function stepModel(model: TransformerModel, memory: StepMemory): StepModel {
  return isMerging(model) ? merging(model, memory) : cached(model, memory);
}

function cached(model: DeepSeekModel, { slots, maxTokens, form, cacheType }: StepMemory): StepModel {
  const pinned = form === undefined ? {} : { form };
  const cache = model.createCache({ maxTokens, sequences: slots, cacheType, ...pinned });
  return {
    bytes: cache.bytes,
    repeats: cache.repeats,
    length: (slot) => cache.length(slot),
    takeBack: (slot, length) => cache.truncate(slot, length),
    clear: (slot) => cache.truncate(slot, 0),
    share(arena, from, to) {
      const length = cache.length(from);
      if (cache.sharesPrefixes) cache.shareSequence(from, to, length);
      else cache.copySequence(arena, from, to, length);
    },
    lends: (slot) => cache.lends(slot),
    shares: (slots) => cache.shares(slots),
    append: (arena, requests) => cache.append(arena, requests),
    appendAgain: (batch, slots) => cache.appendAgain(batch, slots),
    logits: (batch) => model.forward(batch, { cache, outputs: 'last', ...pinned }).logits,
    dispose: () => cache.dispose(),
  };
}

function merging(
  model: MergingTransformer,
  { slots, maxTokens, form, maxChunk = maxTokens, cacheType = 'f32' }: StepMemory,
): StepModel {
  check(
    cacheType === 'f32',
    () => `createState: expected cacheType f32 in a model that merges tokens, got ${cacheType}; leave it out`,
  );
  const pinned = form === undefined ? {} : { form };
  const state = model.createState({
    ...{ maxTokens, sequences: slots, rollback: Math.min(maxChunk, maxTokens) },
    ...pinned,
  });
  return {
    bytes: state.bytes,
    repeats: false,
    length: (slot) => state.length(slot),
    takeBack: (slot, length) => state.truncate(slot, length),
    clear: (slot) => state.clear(slot),
    share: (arena, from, to) => state.copySequence(arena, from, to, state.length(from)),
    lends: () => false,
    shares: () => false,
    append: (arena, requests) => state.append(arena, requests),
    appendAgain: () => {},
    logits: async (batch) => (await model.forward(batch, { state, outputs: 'last', ...pinned })).logits,
    dispose: () => state.dispose(),
  };
}
