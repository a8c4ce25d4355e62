/**
 * What models of numbers in this process share: a DeepSeek-shaped backbone in training and one row of weights that
 * turns a hidden state into a number.
 *
 * The shape of transformers' `DeepseekV3ForSequenceClassification` with one label: no bias, the state after the final
 * norm, the head called `score.weight`. The head for tokens and the modules that predict further ahead take no part.
 * A scoring model reads its number at a text's last token, a critic before each token of a completion.
 */
import { check, Random, type Shape } from '@minke/core';
import { type Arena, gatherRows, linear, normalInit, type Tensor } from '@minke/tensor';
import type { DeepSeekModel, HiddenResult, ModelBatch } from '@minke/transformer';
import type { OptimStepOptions, OptimStepResult } from './interfaces.ts';
import { type LocalLearnerOptions, LocalTraining } from './local-training.ts';
import { SCORE_HEAD, saveScorer } from './scorer-files.ts';

/** Where the head's weights come from: a seed for new ones, or trained ones, [1, D]. */
export type HeadInit = { readonly seed: number } | { readonly head: ArrayLike<number> };

/** Numbers of a packed batch, and what the whole pass left. */
export interface ScalarPass {
  readonly rows: ModelBatch;
  readonly result: HiddenResult;
  /** One for each row asked for, [N]. */
  readonly numbers: Tensor;
}

export abstract class ScalarModel {
  /** @internal */ protected readonly training: LocalTraining;
  /** @internal */ protected readonly head: Tensor;

  /** @param owner for errors; @param model the backbone, which is trained */
  protected constructor(
    owner: string,
    model: DeepSeekModel,
    init: HeadInit,
    options: Partial<LocalLearnerOptions>,
  ) {
    const { arena } = model.headWeight;
    const { hiddenSize, initStd, numLayers, tieEmbeddings } = model.config;
    const shape: Shape = [1, hiddenSize];
    check(
      'seed' in init || init.head.length === hiddenSize,
      () =>
        `${owner}: expected a head of ${hiddenSize} numbers, got ${'head' in init ? init.head.length : ''}`,
    );
    this.head =
      'head' in init
        ? arena.parameter(init.head, shape)
        : normalInit(arena, new Random(init.seed), shape, initStd);
    const parameters = model.trainable();
    if (!tieEmbeddings) parameters.delete('lm_head.weight');
    for (const name of parameters.keys())
      if (Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1) >= numLayers) parameters.delete(name);
    this.training = new LocalTraining(model, options, parameters.set(SCORE_HEAD, this.head));
  }

  get model(): DeepSeekModel {
    return this.training.model;
  }

  /** What is trained, by name. */
  parameters(): Map<string, Tensor> {
    return new Map(this.training.parameters);
  }

  optimStep(options: OptimStepOptions): Promise<OptimStepResult> {
    return this.training.inTurn(() => this.training.optimStep(options));
  }

  saveState(folder: string): Promise<void> {
    return this.training.inTurn(() => this.training.saveState(folder));
  }

  loadState(folder: string): Promise<void> {
    return this.training.inTurn(() => this.training.loadState(folder));
  }

  /**
   * Writes a folder that transformers loads as `DeepseekV3ForSequenceClassification`, and `loadScorer` here.
   * Throws `unsupported` for a V2 backbone, which transformers has no such class for.
   */
  saveModel(folder: string, { dtype = 'bf16' }: { readonly dtype?: 'f32' | 'bf16' } = {}): Promise<void> {
    return this.training.inTurn(() => saveScorer(this.model, this.head, folder, dtype));
  }

  /** Gives the step's memory back once the calls before it are over; the model stays. */
  dispose(): Promise<void> {
    return this.training.inTurn(async () => this.training.dispose());
  }

  /** @internal @param at rows of the packed sequences, ascending */
  protected pass(arena: Arena, sequences: readonly (readonly number[])[], at: ArrayLike<number>): ScalarPass {
    const rows = this.training.model.batch(arena, sequences);
    const result = this.training.model.hidden(rows, { form: 'expanded' });
    const hidden = gatherRows(result.hidden, arena.tensor(at, [at.length], 'i32'));
    return { rows, result, numbers: linear(hidden, this.head).reshape([at.length]) };
  }
}
