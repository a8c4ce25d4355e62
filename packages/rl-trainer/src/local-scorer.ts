/**
 * A scoring model in this process: a DeepSeek-shaped backbone and one row of weights that turns the hidden state of
 * the last token into a number.
 *
 * The shape of transformers' `DeepseekV3ForSequenceClassification` with one label: no bias, the state after the final
 * norm, the head called `score.weight`. DeepSeek-R1's reward models are its own backbone with such a head
 * (https://arxiv.org/abs/2501.12948v2, section 3.1). The head for tokens is not trained. Texts are packed without
 * padding, so the last token is each text's own.
 */
import { check, Random, type Shape } from '@minke/core';
import { type Arena, gatherRows, linear, normalInit, slice, type Tensor } from '@minke/tensor';
import type { DeepSeekModel } from '@minke/transformer';
import type { OptimStepOptions, OptimStepResult } from './interfaces.ts';
import { type LocalLearnerOptions, LocalTraining } from './local-training.ts';
import { bradleyTerryLoss, pointwiseLoss } from './objectives/index.ts';
import type { ScoreLearner, ScoreLossSpec, ScoreSequence } from './score-learner.ts';
import { SCORE_HEAD, saveScorer } from './scorer-files.ts';

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
export class LocalScorer implements ScoreLearner {
  readonly #training: LocalTraining;
  readonly #head: Tensor;

  /** @param model the backbone, which the scorer trains; its weights are usually a copy of the policy's */
  constructor(model: DeepSeekModel, { seed = 0, head, ...options }: Partial<LocalScorerOptions> = {}) {
    const { arena } = model.headWeight;
    const { hiddenSize, initStd, numLayers, tieEmbeddings } = model.config;
    const shape: Shape = [1, hiddenSize];
    check(
      head === undefined || head.length === hiddenSize,
      () => `LocalScorer: expected a head of ${hiddenSize} numbers, got ${head?.length}`,
    );
    this.#head =
      head === undefined ? normalInit(arena, new Random(seed), shape, initStd) : arena.parameter(head, shape);
    const parameters = model.trainable();
    // Neither the head for tokens nor the modules that predict further ahead take part in a score.
    if (!tieEmbeddings) parameters.delete('lm_head.weight');
    for (const name of parameters.keys())
      if (Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1) >= numLayers) parameters.delete(name);
    this.#training = new LocalTraining(model, options, parameters.set(SCORE_HEAD, this.#head));
  }

  get model(): DeepSeekModel {
    return this.#training.model;
  }

  /** What is trained, by name. */
  parameters(): Map<string, Tensor> {
    return new Map(this.#training.parameters);
  }

  score(sequences: readonly (readonly number[])[]): Promise<number[]> {
    return this.#training.inTurn(async () => {
      if (sequences.length === 0) return [];
      const arena = this.#training.inference;
      try {
        return Array.from(await this.#scores(arena, sequences).scores.read());
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
    return this.#training.inTurn(async () => {
      const { arena } = this.#training;
      try {
        const ids = sequences.map(({ tokens }) => tokens);
        const { scores, result, rows } = this.#scores(arena, ids);
        const value = scoreLoss(arena, scores, sequences, spec, totals.sequences);
        const share = sequences.length / totals.sequences;
        const { loss } = await this.#training.backward(value, { result, rows, share });
        return { loss, scores: Array.from(await scores.read()) };
      } finally {
        arena.reset();
      }
    });
  }

  optimStep(options: OptimStepOptions): Promise<OptimStepResult> {
    return this.#training.inTurn(() => this.#training.optimStep(options));
  }

  saveState(folder: string): Promise<void> {
    return this.#training.inTurn(() => this.#training.saveState(folder));
  }

  loadState(folder: string): Promise<void> {
    return this.#training.inTurn(() => this.#training.loadState(folder));
  }

  /**
   * Writes a folder that transformers loads as `DeepseekV3ForSequenceClassification`, and `loadScorer` here.
   * Throws `unsupported` for a V2 backbone, which transformers has no such class for.
   */
  saveModel(folder: string, { dtype = 'bf16' }: { readonly dtype?: 'f32' | 'bf16' } = {}): Promise<void> {
    return this.#training.inTurn(() => saveScorer(this.model, this.#head, folder, dtype));
  }

  /** Gives the step's memory back once the calls before it are over; the model stays. */
  dispose(): Promise<void> {
    return this.#training.inTurn(async () => this.#training.dispose());
  }

  #scores(arena: Arena, sequences: readonly (readonly number[])[]) {
    for (const [i, tokens] of sequences.entries())
      check(tokens.length > 0, () => `LocalScorer: expected token ids in sequence ${i}, got none`);
    const rows = this.model.batch(arena, sequences);
    const result = this.model.hidden(rows, { form: 'expanded' });
    let end = -1;
    const last = sequences.map(({ length }) => (end += length));
    const hidden = gatherRows(result.hidden, arena.tensor(last, [last.length], 'i32'));
    return { rows, result, scores: linear(hidden, this.#head).reshape([sequences.length]) };
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
