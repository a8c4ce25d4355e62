/**
 * The interfaces of models that learn numbers: of whole texts (reward models), and of what is still to come at each
 * token of a completion (critics).
 *
 * Narrow and plain as `Learner` (interfaces.ts), and with the same rules: calls take effect in the order they are
 * made, one that rejects changes nothing, sums are divided by the totals of the step so that micro-batches add up.
 */
import type { OptimStepOptions, OptimStepResult, TrainingSequence } from './interfaces.ts';
import type { Aggregation, StepTotals } from './objectives/index.ts';

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

/** The critic's loss of PPO; see `tokenValueLoss`. */
export interface ValueLossSpec {
  readonly name: 'value';
  /** How far a value may move with profit from the one at the rollout; null for any way. */
  readonly epsilon: number | null;
  /** From tokens to one loss, as the policy's. */
  readonly aggregation: Aggregation;
}

/** A critic: the value of a token is what the reward is expected to be from the state before it on. */
export interface ValueLearner extends Pick<ScoreLearner, 'optimStep' | 'saveState' | 'loadState'> {
  /** Values of the tokens that count, without gradient; one row a sequence. */
  values(sequences: readonly TrainingSequence[]): Promise<readonly (readonly number[])[]>;
  /** Adds the gradients of one micro-batch, of sequences with `values` and `returns`. The values are those before. */
  forwardBackward(
    sequences: readonly TrainingSequence[],
    loss: ValueLossSpec,
    totals: StepTotals,
  ): Promise<{ readonly loss: number; readonly values: readonly (readonly number[])[] }>;
}
