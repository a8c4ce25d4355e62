// A state cut back to any length goes on as one that never went beyond, on every backend.

import { Random } from '@minke/core';
import { Arena } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { testBackends } from '../testing/backends.ts';
import { distance, normals } from '../testing/numbers.ts';
import { D, type Memory, Stack } from '../testing/stack.ts';
import type { MergeState } from './index.ts';

const T = 17;
const text = normals(T * D, 1);
const guesses = normals(9 * D, 2);
const rowsOf = (values: ArrayLike<number>, start: number, end: number) =>
  Array.from({ length: (end - start) * D }, (_, i) => values[start * D + i] as number);

const cases = (await testBackends()).flatMap(([name, backend]) =>
  [1, 4].map((kernel) => [`${name}, behind a convolution over ${kernel}`, backend, kernel] as const),
);

describe.each(cases)('a state that is cut back, on %s', (_, backend, kernel) => {
  const stack = new Stack(backend, { maxRun: 4, kernel });
  const whole = stack.numbers(text);

  /** Tokens through a state, and what the middle layer remembered after each length: its own cache of entries. */
  class Run {
    readonly state: MergeState;
    readonly #memories: Memory = new Map();
    readonly #lasts: (ArrayLike<number> | undefined)[][];

    constructor(rollback: number, sequences = 1) {
      this.state = stack.createState({ rollback, sequences });
      this.#lasts = Array.from({ length: sequences }, () => []);
    }

    async step(sequence: number, values: number[]): Promise<number[]> {
      using arena = new Arena(backend);
      const lasts = this.#lasts[sequence] as (ArrayLike<number> | undefined)[];
      const before = lasts[this.state.entries(sequence) - 1];
      if (before) this.#memories.set(sequence, before);
      else this.#memories.delete(sequence);
      const first = this.state.entries(sequence);
      const h = arena.tensor(values, [values.length / D, D]);
      const batch = { state: this.state, sequences: [sequence] };
      const { output, entries } = await stack.forward(h, batch, this.#memories);
      const numbers = await entries.read();
      for (let e = 0; e < numbers.length / D; e++) lasts[first + e] = rowsOf(numbers, e, e + 1);
      return Array.from(await output.read());
    }

    share(from: number, to: number, length: number): void {
      using arena = new Arena(backend);
      this.state.copySequence(arena, from, to, length);
      arena.submit();
      this.#lasts[to] = [...(this.#lasts[from] as ArrayLike<number>[])];
    }
  }

  it.each([
    ['at once', [T]],
    ['token by token', new Array<number>(T).fill(1)],
  ])('to every length, having come %s', async (_, chunks) => {
    const expected = await whole;
    const run = new Run(T + 9);
    using state = run.state;
    let start = 0;
    for (const count of chunks) await run.step(0, rowsOf(text, start, (start += count)));
    for (let length = T - 1; length >= 0; length--) {
      // From what came behind it, and from wrong guesses there.
      const entries = state.truncate(0, length);
      expect([state.length(0), state.entries(0)]).toEqual([length, entries]);
      await run.step(0, rowsOf(guesses, 0, 1 + (length % 9)));
      expect(state.truncate(0, length)).toBe(entries);
      const rest = await run.step(0, rowsOf(text, length, T));
      expect(distance(rest, rowsOf(expected, length, T))).toBe(0);
    }
  });

  it.each([3, 6, 40])('at random, %i tokens back at most, with shared beginnings', async (rollback) => {
    const expected = await whole;
    const random = new Random(rollback);
    const run = new Run(rollback, 2);
    using state = run.state;
    const oldest = [0, 0];
    for (let i = 0; i < 60; i++) {
      const s = random.integer(0, 2);
      const length = state.length(s);
      if (random.uniform() < 0.45 && length > 0) {
        const to = random.integer(oldest[s] as number, length + 1);
        if (random.uniform() < 0.3) {
          run.share(s, 1 - s, to);
          oldest[1 - s] = oldest[s] as number;
        } else state.truncate(s, to);
        expect(state.length(s) === to || state.length(1 - s) === to).toBe(true);
      } else if (length < T) {
        const count = random.integer(1, Math.min(5, T - length) + 1);
        const got = await run.step(s, rowsOf(text, length, length + count));
        expect(distance(got, rowsOf(expected, length, length + count))).toBe(0);
        // Wrong guesses behind the right tokens, taken back: as many as are remembered.
        const wrong = Math.min(rollback, random.integer(0, 4));
        if (wrong > 0) await run.step(s, rowsOf(guesses, 0, wrong));
        state.truncate(s, length + count);
        oldest[s] = Math.max(oldest[s] as number, length + count + wrong - rollback);
      }
    }
    expect(oldest.some((length) => length > 0)).toBe(rollback < T);
  });

  it('no further than it remembers, and says so', async () => {
    const run = new Run(4);
    using state = run.state;
    await run.step(0, text);
    expect(state.reaches(0, T - 4)).toBe(true);
    expect(state.reaches(0, T - 5)).toBe(false);
    expect(() => state.truncate(0, T - 5)).toThrow(
      /length from 13 to 17, or 0, got 12.*rollback of 4 tokens/,
    );
    for (const length of [T + 1, -1, 1.5, Number.NaN])
      expect(() => state.truncate(0, length)).toThrow(/length from 13 to 17/);
    expect(() => state.truncate(1, 0)).toThrow(/sequence below 1, got 1/);
    expect(state.length(0)).toBe(T);
    expect(state.truncate(0, 0)).toBe(0);
    expect(() => stack.createState({ rollback: 1.5 })).toThrow(
      /rollback a whole number of 0 or more, got 1.5/,
    );
  });
});
