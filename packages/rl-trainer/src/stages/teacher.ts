/**
 * Who a student learns from: a model that gives its distribution of the next token, on anybody's samples.
 *
 * A distribution is V numbers a token, far more than the sample itself. So a teacher is asked for the micro-batch at
 * hand only, and answers with flat float arrays, which a teacher in this process hands over as they are read and one
 * elsewhere can send as bytes.
 */
import { Arena, gatherRows, linear, logSoftmax } from '@minke/tensor';
import type { DeepSeekModel } from '@minke/transformer';
import type { TrainingSequence } from '../interfaces.ts';
import { packTrainingSequences } from '../packed-sequences.ts';

export interface Teacher {
  /**
   * Log-probabilities at temperature 1 over the vocabulary before each completion token, masked ones too: for each
   * sequence V numbers a token, one token's after another's. A loss at another temperature rescales them.
   */
  distributions(sequences: readonly TrainingSequence[]): Promise<readonly ArrayLike<number>[]>;
}

/** A teacher in this process, without optimiser. Its vocabulary must be the student's. */
export class LocalTeacher implements Teacher {
  readonly #model: DeepSeekModel;
  readonly #arena: Arena;

  constructor(model: DeepSeekModel) {
    this.#model = model;
    this.#arena = new Arena(model.backend, { label: 'teacher' });
  }

  async distributions(sequences: readonly TrainingSequence[]): Promise<Float32Array[]> {
    const arena = this.#arena;
    try {
      const pack = packTrainingSequences(
        sequences.map(({ tokens, completionStart }) => ({ tokens, completionStart })),
      );
      const { hidden } = this.#model.hidden(this.#model.batch(arena, pack.sequences), { form: 'expanded' });
      const rows = arena.tensor(pack.supervisedRows, [pack.supervisedRows.length], 'i32');
      const logits = linear(gatherRows(hidden, rows), this.#model.headWeight);
      const vocabulary = logits.shape[1] as number;
      const all = Float32Array.from(await logSoftmax(logits).read());
      let start = 0;
      return pack.lengths.map((n) => all.subarray(start, (start += n * vocabulary)));
    } finally {
      arena.reset();
    }
  }

  /** Gives its working memory back; the model stays. */
  dispose(): void {
    this.#arena.dispose();
  }
}

/** Sequences with the teacher's distributions beside them; without a teacher as they are. */
export async function withTeacher(
  sequences: readonly TrainingSequence[],
  teacher: Teacher | undefined,
): Promise<readonly TrainingSequence[]> {
  if (teacher === undefined) return sequences;
  const distributions = await teacher.distributions(sequences);
  return sequences.map((sequence, i) => ({
    ...sequence,
    teacherLogProbs: distributions[i] as ArrayLike<number>,
  }));
}
