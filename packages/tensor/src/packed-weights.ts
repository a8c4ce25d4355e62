/**
 * Packed forms of many weights at once, for an engine that generates with weights that seldom change.
 *
 * An arena that is given one (`packed` among its options) computes `linear` and layers of experts from the packed
 * forms, with the same bits. They take as much memory again as the weights; rounded to 8 or 4 bits (`quantize`) a
 * quarter or an eighth of it and a little, with other bits. `refresh` packs anew what has been
 * written since, by an optimiser's step or by the host, so results are never those of old weights.
 */
import type { Backend, OpName } from '@minke/core';
import { Arena, type PackedForms } from './arena.ts';
import { call } from './call.ts';
import { type PackedWeight, packWeight, quantizedOps } from './packed-weight.ts';
import type { Tensor } from './tensor.ts';

const needed: readonly OpName[] = ['packWeight', 'matmulPacked', 'moeFeedForwardPacked'];
const neededQuantized: readonly OpName[] = [...quantizedOps, 'moeFeedForwardQuantized'];

/**
 * @example
 * using packed = new PackedWeights(backend, [layer.weight]);
 * const arena = new Arena(backend, { packed });
 * const y = linear(arena.adopt(x), layer.weight); // reads the packed form
 */
export class PackedWeights implements PackedForms {
  readonly #arena: Arena;
  readonly #entries = new Map<Tensor, { readonly packed: PackedWeight; version: number }>();
  /** Blocks of 8 bits, row by row, of weights that are read so too. */
  readonly #rows = new Map<Tensor, Tensor>();

  /**
   * Packs f32 weights [out, in] and [experts, out, in]; nothing on a backend without packed products.
   * Throws `out-of-memory`.
   *
   * @param options `quantize` rounds those whose `in` is a multiple of 32 to blocks of 8 or 4 bits; the others stay f32.
   *   `rows` are further weights, always rounded to 8 bits, of which the blocks are kept too, row by row.
   */
  constructor(
    backend: Backend,
    weights: Iterable<Tensor>,
    options: {
      readonly quantize?: 'q8_0' | 'q4_0' | undefined;
      readonly rows?: Iterable<Tensor> | undefined;
    } = {},
  ) {
    this.#arena = new Arena(backend, { persistent: true, label: 'packed weights' });
    const { quantize, rows = [] } = options;
    const ops = quantize === undefined ? needed : [...needed, ...neededQuantized];
    if (!ops.every((op) => backend.supports(op))) return;
    try {
      for (const w of weights) {
        const rounded = quantize !== undefined && w.shape.at(-1)! % 32 === 0;
        const packed = packWeight(w, { arena: this.#arena, ...(rounded ? { quantize } : {}) });
        this.#entries.set(w, { packed, version: w.storage.version });
      }
      for (const w of rows) {
        const [blocks] = call('quantize', [w], { to: 'q8_0' }, this.#arena);
        this.#rows.set(w, blocks!);
        this.#entries.set(w, {
          packed: packWeight(blocks!, { arena: this.#arena }),
          version: w.storage.version,
        });
      }
      this.#arena.submit();
    } catch (problem) {
      this.#arena.dispose();
      throw problem;
    }
  }

  /** Bytes of the packed forms. */
  get bytes(): number {
    return this.#arena.bytes;
  }

  /** @internal The packed form of `w`, this very tensor, as ops take it. */
  tiles(w: Tensor): Tensor | undefined {
    return this.#entries.get(w)?.packed.tensor;
  }

  /** @internal The blocks of `w`, in its shape, where they are kept; `tiles` holds the same numbers. */
  rows(w: Tensor): Tensor | undefined {
    return this.#rows.get(w);
  }

  /** Packs again, into the same memory, what was written since it was packed. */
  refresh(): void {
    let stale = false;
    for (const [w, entry] of this.#entries) {
      const { version } = w.storage;
      if (version === entry.version) continue;
      const kept = this.#rows.get(w);
      if (kept !== undefined) {
        const [fresh] = call('quantize', [w], { to: 'q8_0' }, this.#arena);
        call('copyInto', [fresh!, kept], {}, this.#arena);
        fresh!.dispose();
      }
      entry.packed.update(kept ?? w);
      entry.version = version;
      stale = true;
    }
    if (stale) this.#arena.submit();
  }

  dispose(): void {
    this.#arena.dispose();
    this.#entries.clear();
    this.#rows.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
