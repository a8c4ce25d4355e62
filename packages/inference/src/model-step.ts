/**
 * One forward pass over rows of several sequences, beside the latent cache: what the engine runs again and
 * again.
 *
 * A chunk's tokens are appended to its cache region and the logits of its last row come back. Prompt rows run
 * in the expanded form, generated rows absorbed (`@minke/mla-attention`). A pass that fails leaves every region
 * as long as it was, so the caller may try again with fewer chunks. One pass at a time.
 *
 * A pass over one generated token of each sequence is recorded once for each batch size and then run again as
 * a plan: recording some hundreds of commands takes longer than computing them for a small model.
 */
import type { AttentionCache, AttentionForm, TokenRole } from '@minke/mla-attention';
import { Arena, type Plan, type Tensor } from '@minke/tensor';
import type { DeepSeekModel, ModelBatch } from '@minke/transformer';

/** New tokens of one sequence. */
export interface Chunk {
  /** Cache region. */
  readonly slot: number;
  /** At least one token id. */
  readonly ids: Int32Array;
  readonly role: TokenRole;
}

/** Cache memory, and the form of attention. */
export interface ModelStepOptions {
  readonly slots: number;
  readonly maxTokens: number;
  /** Pins the form. Default: by token role, beside latents. */
  readonly form?: AttentionForm | undefined;
}

/** Decoding plans kept, of different batch sizes; each holds the memory of one pass over its rows. */
const keptPlans = 8;

/** A decoding pass over a fixed number of rows: what it reads, and where its logits come out. */
interface DecodingPlan {
  readonly arena: Arena;
  readonly batch: ModelBatch;
  readonly logits: Tensor;
  readonly plan: Plan;
}

export class ModelStep {
  readonly #model: DeepSeekModel;
  readonly #cache: AttentionCache;
  readonly #form: { readonly form?: AttentionForm };
  readonly #arena: Arena;
  /** By number of rows, least recently used first. */
  readonly #plans = new Map<number, DecodingPlan>();

  /** Takes cache memory for `slots` regions of `maxTokens` tokens. Throws `out-of-memory`. */
  constructor(model: DeepSeekModel, { slots, maxTokens, form }: ModelStepOptions) {
    this.#model = model;
    this.#form = form === undefined ? {} : { form };
    this.#cache = model.createCache({ maxTokens, sequences: slots, ...this.#form });
    this.#arena = new Arena(model.backend, { label: 'generation step' });
  }

  /** Bytes of cache memory. */
  get cacheBytes(): number {
    return this.#cache.bytes;
  }

  /** Tokens a region holds. */
  length(slot: number): number {
    return this.#cache.length(slot);
  }

  /** Forgets a region. */
  clear(slot: number): void {
    this.#cache.truncate(slot, 0);
  }

  /** Makes region `to` hold what `from` holds. */
  copy(from: number, to: number): void {
    this.#cache.copySequence(this.#arena, from, to, this.#cache.length(from));
  }

  /** Appends the chunks and returns the logits after each one's last token, [chunks, V]. */
  async run(chunks: readonly Chunk[]): Promise<Float32Array> {
    const before = chunks.map(({ slot }) => this.#cache.length(slot));
    try {
      const decoding = chunks.every(({ ids, role }) => role === 'generated' && ids.length === 1);
      return await (decoding ? this.#decode(chunks) : this.#forward(chunks));
    } catch (problem) {
      chunks.forEach(({ slot }, i) => {
        this.#cache.truncate(slot, before[i] as number);
      });
      throw problem;
    }
  }

  async #forward(chunks: readonly Chunk[]): Promise<Float32Array> {
    try {
      const { logits } = this.#record(this.#arena, chunks);
      return hostLogits(await logits.read());
    } finally {
      this.#arena.reset();
    }
  }

  async #decode(chunks: readonly Chunk[]): Promise<Float32Array> {
    this.#arena.submit(); // copies of regions that this step reads
    const rows = chunks.length;
    let kept = this.#plans.get(rows);
    if (kept === undefined) kept = this.#makePlan(chunks);
    else {
      this.#cache.appendAgain(
        kept.batch,
        chunks.map(({ slot }) => slot),
      );
      kept.batch.ids.write(chunks.map(({ ids }) => ids[0] as number));
      kept.plan.run();
    }
    this.#plans.delete(rows);
    this.#plans.set(rows, kept);
    return hostLogits(await kept.logits.read());
  }

  /** Records and runs a decoding pass; the least recently used plan makes room for it. */
  #makePlan(chunks: readonly Chunk[]): DecodingPlan {
    let arena: Arena | undefined;
    const [oldest] = this.#plans;
    if (this.#plans.size >= keptPlans && oldest !== undefined) {
      this.#plans.delete(oldest[0]);
      arena = oldest[1].arena;
      arena.reset();
    }
    arena ??= new Arena(this.#model.backend, { label: 'decoding plan' });
    try {
      const { batch, logits } = this.#record(arena, chunks);
      return { arena, batch, logits, plan: arena.keep() };
    } catch (problem) {
      arena.dispose();
      throw problem;
    }
  }

  #record(arena: Arena, chunks: readonly Chunk[]): { batch: ModelBatch; logits: Tensor } {
    const rows = chunks.flatMap(({ ids }) => [...ids]);
    const ids = arena.tensor(rows, [rows.length], 'i32');
    const requests = chunks.map(({ slot, ids, role }) => ({ sequence: slot, count: ids.length, role }));
    const batch = { ids, ...this.#cache.append(arena, requests) };
    return { batch, ...this.#model.forward(batch, { cache: this.#cache, outputs: 'last', ...this.#form }) };
  }

  dispose(): void {
    for (const { arena } of this.#plans.values()) arena.dispose();
    this.#plans.clear();
    this.#arena.dispose();
    this.#cache.dispose();
  }
}

/** The logits in f32, which a backend that computes in f64 hands out in f64. */
function hostLogits(logits: ArrayLike<number>): Float32Array {
  return logits instanceof Float32Array ? logits : Float32Array.from(logits);
}
