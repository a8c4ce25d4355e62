/**
 * Examples packed into one ragged batch.
 *
 * Rows are the tokens of whole examples one after another, without padding; the model attends within each
 * example only, so a packed batch has the loss of the unpacked one. Supervised are the completion's tokens,
 * each predicted from the row before it.
 */
import { check } from '@minke/core';

/** One training example. */
export interface Example {
  /** Token ids, prompt and completion. */
  readonly ids: Int32Array;
  /** Index of the first supervised token: everything before it is the prompt. */
  readonly completionStart: number;
}

/** Host side of a ragged batch of N rows. */
export interface PackedBatch {
  /** Token ids of each example. */
  readonly sequences: readonly (readonly number[])[];
  /** N */
  readonly rows: number;
  /** [M], rows whose next token is supervised, ascending. */
  readonly supervisedRows: Int32Array;
  /** [M], the next token of each of these rows. */
  readonly targets: Int32Array;
}

/** Packs whole examples, in order. Each needs a prompt and a completion of at least one token. */
export function packExamples(examples: readonly Example[]): PackedBatch {
  const supervisedRows: number[] = [];
  const targets: number[] = [];
  let rows = 0;
  for (const { ids, completionStart } of examples) {
    check(
      Number.isSafeInteger(completionStart) && completionStart >= 1 && completionStart < ids.length,
      () =>
        `packExamples: expected a prompt and a completion, got ${ids.length} tokens with the completion at ${completionStart}`,
    );
    for (let t = completionStart; t < ids.length; t++) {
      supervisedRows.push(rows + t - 1);
      targets.push(ids[t] as number);
    }
    rows += ids.length;
  }
  return {
    sequences: examples.map(({ ids }) => [...ids]),
    rows,
    supervisedRows: Int32Array.from(supervisedRows),
    targets: Int32Array.from(targets),
  };
}
