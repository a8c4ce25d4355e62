/**
 * One forward pass over rows of several sequences, beside the latent cache: what the engine runs again and
 * again.
 *
 * A chunk's tokens are appended to its cache region and the logits of its last row come back. Prompt rows run
 * in the expanded form, generated rows absorbed (`@minke/mla-attention`). A pass that fails leaves every region
 * as long as it was, so the caller may try again with fewer chunks. One pass at a time.
 */
import type { AttentionCache, TokenRole } from '@minke/mla-attention';
import { Arena } from '@minke/tensor';
import type { DeepSeekModel } from '@minke/transformer';

/** New tokens of one sequence. */
export interface Chunk {
  /** Cache region. */
  readonly slot: number;
  /** At least one token id. */
  readonly ids: Int32Array;
  readonly role: TokenRole;
}

export class ModelStep {
  readonly #model: DeepSeekModel;
  readonly #cache: AttentionCache;
  readonly #arena: Arena;

  /** Takes cache memory for `slots` regions of `maxTokens` tokens. Throws `out-of-memory`. */
  constructor(model: DeepSeekModel, size: { readonly slots: number; readonly maxTokens: number }) {
    this.#model = model;
    this.#cache = model.createCache({ maxTokens: size.maxTokens, sequences: size.slots });
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

  /** Appends the chunks and returns the logits after each one's last token, [chunks, V]. */
  async run(chunks: readonly Chunk[]): Promise<Float32Array> {
    const before = chunks.map(({ slot }) => this.#cache.length(slot));
    const arena = this.#arena;
    try {
      const rows = chunks.flatMap(({ ids }) => [...ids]);
      const batch = this.#cache.append(
        arena,
        chunks.map(({ slot, ids, role }) => ({ sequence: slot, count: ids.length, role })),
      );
      const ids = arena.tensor(rows, [rows.length], 'i32');
      const { logits } = this.#model.forward({ ids, ...batch }, { cache: this.#cache, outputs: 'last' });
      return Float32Array.from(await logits.read());
    } catch (problem) {
      chunks.forEach(({ slot }, i) => {
        this.#cache.truncate(slot, before[i] as number);
      });
      throw problem;
    } finally {
      arena.reset();
    }
  }

  dispose(): void {
    this.#arena.dispose();
    this.#cache.dispose();
  }
}
