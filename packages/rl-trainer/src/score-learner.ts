/**
 * The interface of a model that learns to score texts: reward models, and a place for critics that are one.
 *
 * Narrow and plain as `Learner` (interfaces.ts), and with the same rules: calls take effect in the order they are
 * made, one that rejects changes nothing, sums are divided by the totals of the step so that micro-batches add up.
 */
import type { OptimStepOptions, OptimStepResult } from './interfaces.ts';

/** A text to learn to score. */
export interface ScoreSequence {
  /** Ids of the whole text; the score is read at the last one. */
  readonly tokens: readonly number[];
  /** 1 or 0, for pointwise losses. */
  readonly label?: number;
  /** By how much the chosen one of a pair should lead; on the chosen one. Default 0. */
  readonly margin?: number;
}

/** What `forwardBackward` computes. */
export type ScoreLossSpec =
  /** Sequences in pairs: chosen, then rejected. `centering` is the weight of (r_c + r_r)^2. */
  | { readonly name: 'bradley_terry'; readonly centering: number }
  /** Binary cross-entropy of the score's logistic with the label. */
  | { readonly name: 'pointwise' };

export interface ScoreLearner {
  /** Scores of texts, without gradient, in order. */
  score(sequences: readonly (readonly number[])[]): Promise<readonly number[]>;
  /**
   * Adds the gradients of one micro-batch.
   * @param totals sequences of the whole step: twice the pairs, for pairs
   */
  forwardBackward(
    sequences: readonly ScoreSequence[],
    loss: ScoreLossSpec,
    totals: { readonly sequences: number },
  ): Promise<{ readonly loss: number; readonly scores: readonly number[] }>;
  /** Updates the model with the gradients added since the last step, and forgets them. */
  optimStep(options: OptimStepOptions): Promise<OptimStepResult>;
  /** Writes everything that a continuation needs into a folder. */
  saveState(folder: string): Promise<void>;
  /** Continues from a folder of `saveState`. */
  loadState(folder: string): Promise<void>;
}
