/**
 * What a verifier says about an answer: right, wrong, or not to be judged.
 */

/** A verifier's finding. */
export interface Verdict {
  /** 1 right, 0 wrong or nothing found (between them: partly right), null where the gold answer cannot be read. */
  readonly score: number | null;
  /** The answer that was read, in a normal form that is equal for equal answers; null where none was found. */
  readonly extracted: string | null;
}

/** Compares a visible answer (a completion without its thought) with a gold answer. */
export type AnswerVerifier = (visible: string, gold: string) => Verdict | Promise<Verdict>;

/**
 * How answers are looked for. `strict`: stated in the form asked for, once; for training, since what is accepted is
 * what will be learnt. `lenient`: found where a reader would find it; for evaluation, beside the strict score.
 */
export type Mode = 'strict' | 'lenient';
