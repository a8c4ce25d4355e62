/**
 * A scoring model in this process: a DeepSeek-shaped backbone and one row of weights that turns the hidden state of
 * the last token into a number (scalar-model.ts).
 *
 * DeepSeek-R1's reward models are its own backbone with such a head (https://arxiv.org/abs/2501.12948v2, section
 * 3.1). Texts are packed without padding, so the last token is each text's own.
 */
import { check } from '@minke/core';
import { type Arena, slice, type Tensor } from '@minke/tensor';
import type { DeepSeekModel } from '@minke/transformer';
import type { LocalLearnerOptions } from './local-training.ts';
import { bradleyTerryLoss, pointwiseLoss } from './objectives/index.ts';
import { ScalarModel, type ScalarPass } from './scalar-model.ts';
import type { ScoreLearner, ScoreLossSpec, ScoreSequence } from './score-learner.ts';

/** Settings of a scoring model. */
export interface LocalScorerOptions extends LocalLearnerOptions {
  /** Of a new head's weights. */
  readonly seed: number;
  /** A trained head, [1, D], instead of a new one. */
  readonly head: ArrayLike<number>;
}

/**
 * @example
 * const scorer = new LocalScorer(model, { seed: 0 });
 * await scorer.forwardBackward([{ tokens: good }, { tokens: bad }], { name: 'bradley_terry', centering: 0 }, { sequences: 2 });
 * await scorer.optimStep({ learningRate: 1e-5 });
 * const [score] = await scorer.score([text]);
 */
export class LocalScorer extends ScalarModel implements ScoreLearner {
  /** @param model the backbone, which the scorer trains; its weights are usually a copy of the policy's */
  constructor(model: DeepSeekModel, { seed = 0, head, ...options }: Partial<LocalScorerOptions> = {}) {
    super('LocalScorer', model, head === undefined ? { seed } : { head }, options);
  }

  score(sequences: readonly (readonly number[])[]): Promise<number[]> {
    return this.training.inTurn(async () => {
      if (sequences.length === 0) return [];
      const arena = this.training.inference;
      try {
        return Array.from(await this.#scores(arena, sequences).numbers.read());
      } finally {
        arena.reset();
      }
    });
  }

  forwardBackward(
    sequences: readonly ScoreSequence[],
    spec: ScoreLossSpec,
    totals: { readonly sequences: number },
  ): Promise<{ loss: number; scores: number[] }> {
    return this.training.inTurn(async () => {
      const { arena } = this.training;
      try {
        const ids = sequences.map(({ tokens }) => tokens);
        const { numbers: scores, result, rows } = this.#scores(arena, ids);
        const value = scoreLoss(arena, scores, sequences, spec, totals.sequences);
        const share = sequences.length / totals.sequences;
        const { loss } = await this.training.backward(value, { result, rows, share });
        return { loss, scores: Array.from(await scores.read()) };
      } finally {
        arena.reset();
      }
    });
  }

  #scores(arena: Arena, sequences: readonly (readonly number[])[]): ScalarPass {
    for (const [i, tokens] of sequences.entries())
      check(tokens.length > 0, () => `LocalScorer: expected token ids in sequence ${i}, got none`);
    let end = -1;
    return this.pass(
      arena,
      sequences,
      sequences.map(({ length }) => (end += length)),
    );
  }
}

function scoreLoss(
  arena: Arena,
  scores: Tensor,
  sequences: readonly ScoreSequence[],
  spec: ScoreLossSpec,
  total: number,
): Tensor {
  if (spec.name === 'pointwise') {
    const labels = sequences.map(({ label }, i) => {
      check(
        label !== undefined && label >= 0 && label <= 1,
        () => `forwardBackward: expected a label from 0 to 1 on sequence ${i}, got ${label}`,
      );
      return label as number;
    });
    return pointwiseLoss(scores, arena.tensor(labels, [labels.length]), { samples: total });
  }
  const pairs = sequences.length / 2;
  check(
    Number.isInteger(pairs) && pairs > 0,
    () =>
      `forwardBackward: expected pairs of sequences, chosen then rejected, got ${sequences.length} sequences`,
  );
  const table = scores.reshape([pairs, 2]);
  const side = (which: number) => slice(table, 1, which, 1).reshape([pairs]);
  const margins = sequences.filter((_, i) => i % 2 === 0).map(({ margin = 0 }) => margin);
  return bradleyTerryLoss(side(0), side(1), {
    pairs: total / 2,
    centering: spec.centering,
    ...(margins.some((margin) => margin !== 0) && { margins: arena.tensor(margins, [pairs]) }),
  });
}
