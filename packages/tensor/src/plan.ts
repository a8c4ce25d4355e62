/**
 * A recorded step that runs again without being recorded again.
 *
 * Recording checks every call and allocates its results; a step of the same shapes does not need that twice.
 * `Arena.keep` hands out the commands recorded so far as a plan: write new numbers into the tensors they read,
 * `run`, and read the results from the same tensors as the first time. A plan lives until its arena is reset.
 */
import { type Backend, type CommandList, MinkeError } from '@minke/core';
import type { Arena } from './arena.ts';
import type { Storage } from './storage.ts';

/** Memory of other owners that a plan's commands use. */
export interface SharedUse {
  readonly storage: Storage;
  readonly written: boolean;
}

/**
 * @example
 * const x = arena.tensor([1, 2], [2]);
 * const y = square(x);
 * const plan = arena.keep();   // y is [1, 4]
 * x.write([3, 4]);
 * plan.run();                  // y is [9, 16]
 */
export class Plan {
  readonly #arena: Arena;
  readonly #generation: number;
  readonly #list: CommandList;
  readonly #shared: readonly SharedUse[];

  /** @internal Use `Arena.keep`. */
  constructor(arena: Arena, list: CommandList, shared: readonly SharedUse[]) {
    this.#arena = arena;
    this.#generation = arena.generation;
    this.#list = list;
    this.#shared = shared;
  }

  /** Commands of one run. */
  get size(): number {
    return this.#list.records.length;
  }

  /**
   * Submits the commands, after whatever other arenas have recorded on the memory they share. Throws
   * `invalid-argument` when the arena was reset, or a tensor of another owner that they use was disposed.
   */
  run(): void {
    const arena = this.#arena;
    if (arena.disposed || arena.generation !== this.#generation)
      throw new MinkeError(
        'invalid-argument',
        `plan: expected the plan of a live step, got one of arena "${arena.label}", which was reset; record it anew`,
      );
    arena.submit();
    for (const { storage, written } of this.#shared) {
      if (!storage.live)
        throw new MinkeError(
          'invalid-argument',
          'plan: expected live parameters, got one that was disposed; record it anew',
        );
      if (written) {
        storage.settle(null);
        storage.version++;
      } else storage.writer?.submit();
    }
    const backend: Backend = arena.backend;
    backend.submit(this.#list);
  }
}
