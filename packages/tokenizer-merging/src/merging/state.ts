/**
 * What merging and inflation remember between calls, for each sequence: the tokens since the latest boundary, the
 * latest smoothed change, and what a convolution before them still reaches.
 *
 * Memory is fixed: maxRun + kernel rows of D numbers a sequence. A state can be copied and put back at any token, and
 * with `rollback` also be cut back, to any of so many lengths before the longest it had: then it keeps, in rings, the
 * rows of that many tokens and changes more. That is what speculation and shared prefixes need. No gradient passes
 * through a state.
 */
import { type Backend, check } from '@minke/core';
import { Arena } from '@minke/tensor';
import type { MergePlan, SequenceStart } from './plan.ts';
import { type MovedRow, RowRing } from './row-ring.ts';

/** Where one sequence stands. */
interface Standing extends SequenceStart {
  /** Shortest length that can be returned to. */
  readonly oldest: number;
}

const fresh: Standing = { position: 0, entries: 0, run: 0, oldest: 0 };

/** How much a state holds. */
export interface MergeStateSize {
  /** Default 1. */
  readonly sequences?: number;
  /** Tokens that can be taken back (`truncate`). Default 0. */
  readonly rollback?: number;
  /** Tokens that a `CausalConvolution` before the merger spans. Default 1: there is none. */
  readonly kernel?: number;
}

/** Made by `SoftTokenMerger.createState`. */
export class MergeState {
  readonly sequences: number;
  readonly hiddenSize: number;
  readonly maxRun: number;
  /** Tokens that can be taken back. */
  readonly rollback: number;
  /** Tokens that a convolution before the merger spans, 1 without one. */
  readonly kernel: number;
  /** @internal What a convolution was given, by position. */
  readonly inputs: RowRing;
  /** @internal What was merged, by position. */
  readonly history: RowRing;
  /** @internal Smoothed changes, by entry. */
  readonly change: RowRing;
  readonly #arena: Arena;
  readonly #standings: Standing[];
  /** Positions of latest boundaries, ascending: those that can be returned to, and one before. */
  readonly #boundaries: number[][];

  /** @internal */
  constructor(backend: Backend, hiddenSize: number, maxRun: number, size: MergeStateSize = {}) {
    const { sequences = 1, rollback = 0, kernel = 1 } = size;
    for (const [name, value, least] of [
      ['sequences', sequences, 1],
      ['rollback', rollback, 0],
      ['kernel', kernel, 1],
    ] as const)
      check(
        Number.isSafeInteger(value) && value >= least,
        () => `createState: expected ${name} a whole number of ${least} or more, got ${value}`,
      );
    this.sequences = sequences;
    this.hiddenSize = hiddenSize;
    this.maxRun = maxRun;
    this.rollback = rollback;
    this.kernel = kernel;
    this.#arena = new Arena(backend, { persistent: true, label: 'merge state' });
    const ring = (each: number) => new RowRing(this.#arena, sequences, each, hiddenSize);
    this.inputs = ring(kernel > 1 ? kernel - 1 + rollback : 0);
    this.history = ring(maxRun + rollback);
    this.change = ring(rollback + 1);
    this.#standings = Array.from({ length: sequences }, () => fresh);
    this.#boundaries = Array.from({ length: sequences }, () => []);
  }

  /** Bytes of device memory held. */
  get bytes(): number {
    return this.#rings.reduce((bytes, ring) => bytes + ring.bytes, 0);
  }

  get #rings(): readonly RowRing[] {
    return [this.inputs, this.history, this.change];
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
    this.#standings[sequence] = fresh;
    this.#boundaries[sequence] = [];
  }

  /** Whether a sequence can be cut back to so many tokens. */
  reaches(sequence: number, length: number): boolean {
    const { position, oldest } = this.start(sequence);
    return Number.isSafeInteger(length) && length <= position && (length >= oldest || length === 0);
  }

  /**
   * Forgets the tokens of a sequence from `length` on. Throws `invalid-argument` for a length further back than the
   * state remembers.
   * @returns entries that remain: the length of the middle layers' cache
   */
  truncate(sequence: number, length: number): number {
    this.#checkReach('truncate', sequence, length);
    const standing = this.start(sequence);
    if (length === standing.position) return standing.entries;
    if (length === 0) {
      this.clear(sequence);
      return 0;
    }
    const boundaries = this.#boundaries[sequence] as number[];
    let { entries } = standing;
    while ((boundaries.at(-1) as number) >= length) {
      boundaries.pop();
      entries--;
    }
    const run = length - 1 - (boundaries.at(-1) as number);
    this.#standings[sequence] = { ...standing, position: length, entries, run };
    return entries;
  }

  /**
   * Makes sequence `to` hold the first `length` tokens of `from`, whatever it held; recorded in `arena`.
   * @returns entries among them
   */
  copySequence(arena: Arena, from: number, to: number, length: number): number {
    this.#checkReach('copySequence', from, length);
    this.start(to);
    check(from !== to, () => `copySequence: expected another sequence, got ${from} to ${to}`);
    for (const ring of this.#rings) ring.copySequence(arena, from, to);
    this.#standings[to] = this.start(from);
    this.#boundaries[to] = [...(this.#boundaries[from] as number[])];
    return this.truncate(to, length);
  }

  /**
   * A copy of some sequences, in their order: sequence i of the copy is `sequences[i]` here. It has no rollback.
   * Dispose it when done.
   * @param sequences default: all
   */
  clone(sequences: readonly number[] = this.#all()): MergeState {
    const { backend } = this.#arena;
    const size = { sequences: sequences.length, kernel: this.kernel };
    const copy = new MergeState(backend, this.hiddenSize, this.maxRun, size);
    copy.#take(copy.#all(), this, sequences);
    return copy;
  }

  /**
   * Takes over what `saved` holds: its sequence i becomes `sequences[i]`, which cannot be cut back further.
   * @param sequences default: all
   */
  restore(saved: MergeState, sequences: readonly number[] = this.#all()): void {
    check(
      saved.sequences === sequences.length &&
        saved.maxRun === this.maxRun &&
        saved.kernel === this.kernel &&
        saved.hiddenSize === this.hiddenSize,
      () =>
        `restore: expected a state of ${sequences.length} sequences, width ${this.hiddenSize}, runs of ${this.maxRun} and a kernel of ${this.kernel}, got ${saved.sequences}, ${saved.hiddenSize}, ${saved.maxRun} and ${saved.kernel}`,
    );
    this.#take(sequences, saved, saved.#all());
  }

  /** @internal Where a sequence stands. */
  start(sequence: number): Standing {
    const start = this.#standings[sequence];
    check(
      start !== undefined,
      () => `MergeState: expected a sequence below ${this.sequences}, got ${sequence}`,
    );
    return start;
  }

  /** @internal Counts the tokens and entries of a plan. */
  advance(plan: MergePlan, sequences: readonly number[]): void {
    sequences.forEach((sequence, b) => {
      const { position, entries, oldest } = this.start(sequence);
      check(
        position === plan.starts[b]?.position,
        () =>
          `merge: expected a plan made after ${position} tokens of sequence ${sequence}, got one after ${plan.starts[b]?.position}; merge each plan once, in order`,
      );
      const [first, end] = [plan.entryOffsets[b] as number, plan.entryOffsets[b + 1] as number];
      const reached = position + (plan.tokenOffsets[b + 1] as number) - (plan.tokenOffsets[b] as number);
      const back = Math.max(oldest, reached - this.rollback);
      this.#standings[sequence] = {
        position: reached,
        entries: entries + end - first,
        run: plan.openTail[b] as number,
        oldest: back,
      };
      const boundaries = this.#boundaries[sequence] as number[];
      for (let e = first; e < end; e++) boundaries.push(plan.entryPosition[e] as number);
      if (back > 0) {
        const needed = boundaries.findLastIndex((boundary) => boundary < back);
        boundaries.splice(0, needed);
      }
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

  #checkReach(where: string, sequence: number, length: number): void {
    const { position, oldest } = this.start(sequence);
    check(
      this.reaches(sequence, length),
      () =>
        `${where}: expected a length from ${oldest} to ${position}, or 0, got ${length}; the state was made with a rollback of ${this.rollback} tokens`,
    );
  }

  /** Copies what goes on from where sequences of another state stand. */
  #take(targets: readonly number[], from: MergeState, sources: readonly number[]): void {
    const moved = this.#rings.map((): MovedRow[] => []);
    targets.forEach((target, i) => {
      const source = sources[i] as number;
      const { position, entries, run } = from.start(source);
      this.start(target);
      if (position > 0) {
        const firsts = [Math.max(0, position - this.kernel + 1), position - 1 - run, entries - 1];
        const ends = [position, position, entries];
        this.#rings.forEach((ring, n) => {
          for (let at = firsts[n] as number; at < (ends[n] as number); at++)
            moved[n]?.push({ from: (from.#rings[n] as RowRing).row(source, at), to: ring.row(target, at) });
        });
      }
      this.#standings[target] = { position, entries, run, oldest: position };
      this.#boundaries[target] = (from.#boundaries[source] as number[]).slice(-1);
    });
    if (moved.every(({ length }) => length === 0)) return;
    using arena = new Arena(this.#arena.backend, { label: 'merge state copy' });
    this.#rings.forEach((ring, n) => {
      ring.copyRows(arena, from.#rings[n] as RowRing, moved[n] as MovedRow[]);
    });
    arena.submit();
  }
}
