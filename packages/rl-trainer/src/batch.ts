/**
 * Examples packed into one ragged batch.
 *
 * Rows are the tokens of whole examples one after another, without padding: each row attends from its
 * example's first row to itself, so examples do not see each other and a packed batch has the loss of the
 * unpacked one. The loss counts supervised tokens only, over their number in the whole optimiser step.
 */
import { check } from '@minke/core';

/** One training example. */
export interface Example {
  /** Token ids, prompt and completion. */
  readonly ids: Int32Array;
  /** Index of the first supervised token: everything before it is the prompt. */
  readonly completionStart: number;
}

/** Host side of a ragged batch; N rows, B examples. */
export interface PackedBatch {
  /** [N] */
  readonly ids: Int32Array;
  /** [N], from 0 in each example. */
  readonly positions: Int32Array;
  /** [N, 2], key rows [start, end) of each row. */
  readonly ranges: Int32Array;
  /** [M], rows whose next token is supervised, ascending. */
  readonly supervisedRows: Int32Array;
  /** [M], the next token of each of these rows. */
  readonly targets: Int32Array;
  /** B + 1 row offsets. */
  readonly starts: Int32Array;
}

/** Packs whole examples, in order. Each needs at least two tokens and a non-empty prompt. */
export function packExamples(examples: readonly Example[]): PackedBatch {
  const rows = examples.reduce((n, example) => n + example.ids.length, 0);
  const ids = new Int32Array(rows);
  const positions = new Int32Array(rows);
  const ranges = new Int32Array(rows * 2);
  const starts = new Int32Array(examples.length + 1);
  const supervisedRows: number[] = [];
  const targets: number[] = [];
  let row = 0;
  examples.forEach((example, b) => {
    const { length } = example.ids;
    check(
      length >= 2 && example.completionStart >= 1 && example.completionStart < length,
      () =>
        `packExamples: expected a prompt and a completion, got ${length} tokens with the completion at ${example.completionStart}`,
    );
    const start = row;
    starts[b] = start;
    for (let t = 0; t < length; t++, row++) {
      ids[row] = example.ids[t] as number;
      positions[row] = t;
      ranges[2 * row] = start;
      ranges[2 * row + 1] = row + 1;
      if (t + 1 < length && t + 1 >= example.completionStart) {
        supervisedRows.push(row);
        targets.push(example.ids[t + 1] as number);
      }
    }
  });
  starts[examples.length] = row;
  return {
    ids,
    positions,
    ranges,
    supervisedRows: Int32Array.from(supervisedRows),
    targets: Int32Array.from(targets),
    starts,
  };
}

/** [B, N] with 1 / T_b at the rows of example b: averages over each sequence, for the balance loss. */
export function averagingMatrix(starts: Int32Array): Float32Array {
  const sequences = starts.length - 1;
  const rows = starts[sequences] as number;
  const matrix = new Float32Array(sequences * rows);
  for (let b = 0; b < sequences; b++) {
    const [start, end] = [starts[b] as number, starts[b + 1] as number];
    matrix.fill(1 / (end - start), b * rows + start, b * rows + end);
  }
  return matrix;
}
