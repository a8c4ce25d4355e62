/**
 * What merging and inflation remember between calls, for each sequence: the tokens since the latest boundary, and
 * the latest smoothed change.
 *
 * Memory is fixed: maxRun + 1 rows of D numbers a sequence. A state can be copied and put back at any token, which
 * is what speculation and shared prefixes need. No gradient passes through a state.
 */
import { type Backend, check } from '@minke/core';
import { Arena, call, type Tensor } from '@minke/tensor';
import type { MergePlan, SequenceStart } from './plan.ts';

/** Made by `SoftTokenMerger.createState`. */
export class MergeState {
  readonly sequences: number;
  readonly hiddenSize: number;
  readonly maxRun: number;
  /** @internal Row s maxRun + i is the i-th token since sequence s's latest boundary, which is 0. */
  readonly history: Tensor;
  /** @internal Row s is sequence s's latest smoothed change. */
  readonly change: Tensor;
  readonly #arena: Arena;
  readonly #starts: SequenceStart[];

  /** @internal */
  constructor(backend: Backend, sequences: number, hiddenSize: number, maxRun: number) {
    check(
      Number.isSafeInteger(sequences) && sequences >= 1,
      () => `createState: expected sequences of 1 or more, got ${sequences}`,
    );
    this.sequences = sequences;
    this.hiddenSize = hiddenSize;
    this.maxRun = maxRun;
    this.#arena = new Arena(backend, { persistent: true, label: 'merge state' });
    this.history = this.#arena.zeros([sequences * maxRun, hiddenSize]);
    this.change = this.#arena.zeros([sequences, hiddenSize]);
    this.#starts = Array.from({ length: sequences }, () => ({ position: 0, entries: 0, run: 0 }));
  }

  /** Bytes of device memory held. */
  get bytes(): number {
    return 4 * (this.history.size + this.change.size);
  }

  /** Tokens a sequence has seen. */
  length(sequence: number): number {
    return this.start(sequence).position;
  }

  /** Entries a sequence has made: the length of the middle layers' cache. */
  entries(sequence: number): number {
    return this.start(sequence).entries;
  }

  /** Forgets a sequence. */
  clear(sequence: number): void {
    this.start(sequence);
    this.#starts[sequence] = { position: 0, entries: 0, run: 0 };
  }

  /**
   * A copy of some sequences, in their order: sequence i of the copy is `sequences[i]` here. Dispose it when done.
   * @param sequences default: all
   */
  clone(sequences: readonly number[] = this.#all()): MergeState {
    const { backend } = this.#arena;
    const copy = new MergeState(backend, sequences.length, this.hiddenSize, this.maxRun);
    sequences.forEach((sequence, i) => {
      copy.#take(i, this, sequence);
    });
    return copy;
  }

  /**
   * Takes over what `saved` holds: its sequence i becomes `sequences[i]`.
   * @param sequences default: all
   */
  restore(saved: MergeState, sequences: readonly number[] = this.#all()): void {
    check(
      saved.sequences === sequences.length &&
        saved.maxRun === this.maxRun &&
        saved.hiddenSize === this.hiddenSize,
      () =>
        `restore: expected a state of ${sequences.length} sequences, width ${this.hiddenSize} and runs of ${this.maxRun}, got ${saved.sequences}, ${saved.hiddenSize} and ${saved.maxRun}`,
    );
    sequences.forEach((sequence, i) => {
      this.#take(sequence, saved, i);
    });
  }

  /** @internal Where a sequence stands. */
  start(sequence: number): SequenceStart {
    const start = this.#starts[sequence];
    check(
      start !== undefined,
      () => `MergeState: expected a sequence below ${this.sequences}, got ${sequence}`,
    );
    return start;
  }

  /** @internal Counts the tokens and entries of a plan. */
  advance(plan: MergePlan, sequences: readonly number[]): void {
    sequences.forEach((sequence, b) => {
      const { position, entries } = this.start(sequence);
      check(
        position === plan.starts[b]?.position,
        () =>
          `merge: expected a plan made after ${position} tokens of sequence ${sequence}, got one after ${plan.starts[b]?.position}; merge each plan once, in order`,
      );
      this.#starts[sequence] = {
        position: position + (plan.tokenOffsets[b + 1] as number) - (plan.tokenOffsets[b] as number),
        entries: entries + (plan.entryOffsets[b + 1] as number) - (plan.entryOffsets[b] as number),
        run: plan.openTail[b] as number,
      };
    });
  }

  /** Gives the memory back. */
  dispose(): void {
    this.#arena.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #all(): number[] {
    return Array.from({ length: this.sequences }, (_, sequence) => sequence);
  }

  #take(sequence: number, from: MergeState, source: number): void {
    const start = from.start(source);
    this.start(sequence);
    const { maxRun } = this;
    const copy = (a: Tensor, b: Tensor) => call('copyInto', [a, b], {}, this.#arena);
    copy(
      from.history.rows(source * maxRun, (source + 1) * maxRun),
      this.history.rows(sequence * maxRun, (sequence + 1) * maxRun),
    );
    copy(from.change.rows(source, source + 1), this.change.rows(sequence, sequence + 1));
    this.#arena.submit();
    this.#starts[sequence] = start;
  }
}
