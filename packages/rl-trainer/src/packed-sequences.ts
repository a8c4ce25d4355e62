/**
 * Sequences of a micro-batch as one ragged batch: rows that count, their targets, and the numbers beside them.
 *
 * Masked tokens stay in the context and leave the rows that count. Nothing is padded.
 */
import { check } from '@minke/core';
import { packExamples } from './batch.ts';
import type { TrainingSequence } from './interfaces.ts';

/** Host side of a micro-batch; N tokens count. */
export interface PackedSequences {
  readonly sequences: readonly (readonly number[])[];
  /** Tokens of each sequence before its completion. */
  readonly promptLengths: readonly number[];
  /** Rows before the tokens that count, [N]. */
  readonly supervisedRows: Int32Array;
  /** The tokens that count, [N]. */
  readonly targets: Int32Array;
  /** Tokens that count, of each sequence. */
  readonly lengths: readonly number[];
  /** Numbers of the tokens that count, [N], or undefined when no sequence has them. */
  readonly column: (name: NumberColumn) => Float64Array | undefined;
  /** A teacher's log-probabilities for the tokens that count, [N * V], likewise. */
  readonly teacher: () => Float32Array | undefined;
}

/** Columns of one number a token. */
export type NumberColumn =
  | 'advantages'
  | 'oldLogProbs'
  | 'refLogProbs'
  | 'samplingLogProbs'
  | 'values'
  | 'returns';

/** Packs whole sequences. Throws `invalid-argument` naming the sequence whose columns do not fit. */
export function packTrainingSequences(sequences: readonly TrainingSequence[]): PackedSequences {
  const packed = packExamples(
    sequences.map(({ tokens, completionStart }) => ({ ids: Int32Array.from(tokens), completionStart })),
  );
  const kept = sequences.map(({ tokens, completionStart, mask }, i) => {
    const count = tokens.length - completionStart;
    check(
      mask === undefined || mask.length === count,
      () => `learner: expected a mask of ${count} in sequence ${i}, got ${mask?.length}`,
    );
    return Array.from({ length: count }, (_, t) => mask === undefined || mask[t] !== 0);
  });
  const counts = kept.flat();
  const column = (name: NumberColumn): Float64Array | undefined => {
    if (sequences.every((sequence) => sequence[name] === undefined)) return undefined;
    const values = sequences.flatMap((sequence, i) => {
      const own = sequence[name];
      const flags = kept[i] as boolean[];
      check(
        own?.length === flags.length,
        () => `learner: expected ${flags.length} ${name} in sequence ${i}, got ${own?.length ?? 'none'}`,
      );
      return (own as readonly number[]).filter((_, t) => flags[t]);
    });
    return Float64Array.from(values);
  };
  return {
    sequences: packed.sequences,
    promptLengths: sequences.map(({ completionStart }) => completionStart),
    supervisedRows: packed.supervisedRows.filter((_, t) => counts[t]),
    targets: packed.targets.filter((_, t) => counts[t]),
    lengths: kept.map((flags) => flags.filter(Boolean).length),
    column,
    teacher: () => teacherRows(sequences, kept),
  };
}

function teacherRows(
  sequences: readonly TrainingSequence[],
  kept: readonly (readonly boolean[])[],
): Float32Array | undefined {
  if (sequences.every(({ teacherLogProbs }) => teacherLogProbs === undefined)) return undefined;
  const first = sequences.find(({ teacherLogProbs }) => teacherLogProbs !== undefined);
  const vocabulary =
    (first?.teacherLogProbs?.length as number) /
    ((first as TrainingSequence).tokens.length - (first as TrainingSequence).completionStart);
  const count = kept.flat().filter(Boolean).length;
  const rows = new Float32Array(count * vocabulary);
  let at = 0;
  for (const [i, { teacherLogProbs }] of sequences.entries()) {
    const flags = kept[i] as readonly boolean[];
    check(
      teacherLogProbs?.length === flags.length * vocabulary,
      () =>
        `learner: expected teacherLogProbs of ${flags.length} rows in sequence ${i}, got ${teacherLogProbs?.length ?? 'no'} numbers`,
    );
    const own = Float32Array.from(teacherLogProbs as ArrayLike<number>);
    for (const [t, flag] of flags.entries()) {
      if (!flag) continue;
      rows.set(own.subarray(t * vocabulary, (t + 1) * vocabulary), at);
      at += vocabulary;
    }
  }
  return rows;
}

/** A flat list cut into pieces of these lengths. */
export function split(values: ArrayLike<number>, lengths: readonly number[]): number[][] {
  const all = Array.from(values);
  let start = 0;
  return lengths.map((n) => all.slice(start, (start += n)));
}
