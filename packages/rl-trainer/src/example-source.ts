/**
 * Where training examples come from: an endless, resumable stream.
 *
 * `state()` is plain JSON; a source given back its state continues with exactly the example that would have
 * come next.
 */
import { check, MinkeError, Random } from '@minke/core';
import type { Example } from './batch.ts';

export interface ExampleSource {
  next(): Example;
  /** Plain JSON. */
  state(): unknown;
  restore(state: unknown): void;
}

/** The items of a finite set, endlessly, shuffled anew each epoch by a seeded stream. */
export class ShuffledSource<T = Example> {
  readonly #examples: readonly T[];
  readonly #seed: number;
  #epoch = 0;
  #position = 0;
  #order: number[];

  /** @param examples at least one */
  constructor(examples: readonly T[], seed: number) {
    check(examples.length > 0, () => 'ShuffledSource: expected at least one example, got none');
    this.#examples = examples;
    this.#seed = seed;
    this.#order = this.#shuffled();
  }

  next(): T {
    if (this.#position === this.#order.length) {
      this.#epoch++;
      this.#position = 0;
      this.#order = this.#shuffled();
    }
    return this.#examples[this.#order[this.#position++] as number] as T;
  }

  state(): { epoch: number; position: number } {
    return { epoch: this.#epoch, position: this.#position };
  }

  restore(state: unknown): void {
    const { epoch, position } = state as { epoch: number; position: number };
    if (!(position <= this.#examples.length)) {
      throw new MinkeError(
        'invalid-file',
        `ShuffledSource.restore: expected a position of this data set of ${this.#examples.length}, got ${position}; resume with the data the run began with`,
      );
    }
    this.#epoch = epoch;
    this.#position = position;
    this.#order = this.#shuffled();
  }

  #shuffled(): number[] {
    return new Random(this.#seed, this.#epoch).shuffle(this.#examples.map((_, i) => i));
  }
}

/** Takes whole examples up to `tokens` rows; what does not fit opens the next batch. */
export class Packer {
  readonly #source: ExampleSource;
  readonly #tokens: number;
  #before: unknown;

  constructor(source: ExampleSource, tokens: number) {
    this.#source = source;
    this.#tokens = tokens;
  }

  /** Examples of together at most `tokens` rows, at least one. Longer examples are an error that names the limit. */
  take(): Example[] {
    const taken: Example[] = [];
    let rows = 0;
    for (;;) {
      this.#before = this.#source.state();
      const example = this.#source.next();
      check(
        example.ids.length <= this.#tokens,
        () =>
          `Packer: expected examples of at most ${this.#tokens} tokens, got ${example.ids.length}; raise tokensPerStep`,
      );
      if (rows + example.ids.length > this.#tokens) {
        this.#source.restore(this.#before);
        return taken;
      }
      taken.push(example);
      rows += example.ids.length;
    }
  }
}
