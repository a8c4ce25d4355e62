/**
 * Completion tokens of several sequences as one packed axis, and the two maps between tokens and sequences.
 *
 * Objectives see only tokens that count: prompts, padding and tokens that an environment wrote are left out, so
 * that there are no masks. Sequences follow each other; one may be empty (a completion left out of the loss), and
 * then it still counts as a sequence. N tokens, S sequences.
 */
import { check } from '@minke/core';
import { type Arena, call, customOp, gatherRows, type Tensor } from '@minke/tensor';

export interface Segments {
  /** Tokens of each sequence. */
  readonly lengths: readonly number[];
  /** N, their sum. */
  readonly tokens: number;
  /** The sequence of each token, i32 [N]. */
  readonly owners: Tensor;
  /** 1 / max(length, 1) of each sequence, [S]. */
  readonly inverseLengths: Tensor;
}

/**
 * @example
 * const segments = packSegments(arena, [3, 2]); // tokens 0, 1, 2 and 3, 4
 */
export function packSegments(arena: Arena, lengths: readonly number[]): Segments {
  check(
    lengths.length > 0 && lengths.every((n) => Number.isSafeInteger(n) && n >= 0),
    () =>
      `packSegments: expected the token counts of one sequence or more, got [${lengths.slice(0, 8).join(', ')}]`,
  );
  const owners = lengths.flatMap((n, s) => new Array<number>(n).fill(s));
  return {
    lengths: [...lengths],
    tokens: owners.length,
    owners: arena.tensor(owners, [owners.length], 'i32'),
    inverseLengths: arena.tensor(
      lengths.map((n) => 1 / Math.max(n, 1)),
      [lengths.length],
    ),
  };
}

/** The number of its sequence for each token: [S] -> [N]. Differentiable. */
export function spread(perSequence: Tensor, { owners, tokens, lengths }: Segments): Tensor {
  return gatherRows(perSequence.reshape([lengths.length, 1]), owners).reshape([tokens]);
}

/** The sum over each sequence: [N] -> [S], tokens added in order. Differentiable. */
export function segmentSum(perToken: Tensor, { owners, tokens, lengths }: Segments): Tensor {
  const { arena } = perToken;
  const [sums] = customOp({
    name: 'segmentSum',
    inputs: [perToken],
    arena,
    forward: () => {
      const table = arena.zeros([lengths.length, 1]);
      call('scatterAddRows', [perToken.reshape([tokens, 1]), owners, table], {}, arena);
      return [table];
    },
    backward: ([dsums]) => [gatherRows(dsums!, owners).reshape([tokens])],
  });
  return sums!.reshape([lengths.length]);
}
