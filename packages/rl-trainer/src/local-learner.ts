/**
 * A learner in this process: one DeepSeek-shaped model, the adapter on it, or a model that merges tokens, and its
 * optimiser; objectives on packed sequences.
 *
 * Sequences of a micro-batch are packed without padding and attend within themselves; logits are computed for
 * the rows before completion tokens only. The attention form is pinned to the expanded one, which samplers that
 * want equal log-probabilities pin too. What it shares with other learners, the balance of experts among it, is in
 * local-training.ts.
 */
import { check } from '@minke/core';
import { type Arena, gatherRows, linear, type Tensor } from '@minke/tensor';
import { type DeepSeekModel, type IndexerStage, isMerging, type TransformerModel } from '@minke/transformer';
import type {
  ForwardBackwardResult,
  Learner,
  LossSpec,
  OptimStepOptions,
  OptimStepResult,
  PolicyExport,
  TrainingSequence,
} from './interfaces.ts';
import { learnerLoss } from './learner-losses.ts';
import { type LocalLearnerOptions, LocalTraining } from './local-training.ts';
import { type StepTotals, tokenLogProbs } from './objectives/index.ts';
import { type PackedSequences, packTrainingSequences, split } from './packed-sequences.ts';

/**
 * @example
 * const learner = new LocalLearner(model);
 * await learner.forwardBackward(sequences, { name: 'cross_entropy' }, { sequences: 2, tokens: 31 });
 * await learner.optimStep({ learningRate: 1e-4 });
 */
export class LocalLearner<M extends TransformerModel = DeepSeekModel> implements Learner {
  readonly #training: LocalTraining<M>;

  constructor(model: M, options: Partial<LocalLearnerOptions> = {}) {
    this.#training = new LocalTraining(model, options);
  }

  get model(): M {
    return this.#training.model;
  }

  forward(
    sequences: readonly TrainingSequence[],
    { temperature }: { readonly temperature: number },
  ): Promise<number[][]> {
    return this.#training.inTurn(() => this.#forward(sequences, temperature));
  }

  forwardBackward(
    sequences: readonly TrainingSequence[],
    loss: LossSpec,
    totals: StepTotals,
  ): Promise<ForwardBackwardResult> {
    return this.#training.inTurn(() => this.#forwardBackward(sequences, loss, totals));
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

  /** Samplers of this process share the weights. */
  exportForSampler(): Promise<PolicyExport> {
    return this.#training.inTurn(async () => ({ version: this.#training.stepCount, location: null }));
  }

  /**
   * Takes over the weights of another model of the same shape, of one with an adapter the adapter's: how a reference
   * becomes the policy of now.
   */
  copyFrom(model: M): Promise<void> {
    return this.#training.inTurn(() => this.#copyFrom(model));
  }

  /** Gives the step's memory back once the calls before it are over; the model stays. */
  dispose(): Promise<void> {
    return this.#training.inTurn(async () => this.#training.dispose());
  }

  async #forward(sequences: readonly TrainingSequence[], temperature: number): Promise<number[][]> {
    const arena = this.#training.inference;
    try {
      const pack = packTrainingSequences(sequences);
      const { hidden, targets } = await this.#pass(arena, pack);
      const logits = linear(hidden, this.model.headWeight);
      return split(await tokenLogProbs(logits, targets, temperature).read(), pack.lengths);
    } finally {
      arena.reset();
    }
  }

  async #forwardBackward(
    sequences: readonly TrainingSequence[],
    spec: LossSpec,
    totals: StepTotals,
  ): Promise<ForwardBackwardResult> {
    const { arena } = this.#training;
    try {
      const pack = packTrainingSequences(sequences);
      const { indexerStage } = this.#training;
      const { hidden, targets, result, rows } = await this.#pass(arena, pack, indexerStage);
      const inputs = { arena, pack, hidden, head: this.model.headWeight, targets };
      const { loss, tokens, correct } = learnerLoss(inputs, spec, totals);
      const share = sequences.length / totals.sequences;
      const auxiliary = await this.#training.backward(loss, { result, rows, share });
      return {
        loss: auxiliary.loss,
        logProbs: tokens === undefined ? [] : split(await tokens.logProbs.read(), pack.lengths),
        entropies: tokens === undefined ? [] : split(await tokens.entropies.read(), pack.lengths),
        metrics: {
          balance_loss: auxiliary.balanceLoss,
          ...auxiliary.compression,
          ...(auxiliary.indexerLoss !== undefined && { indexer_loss: auxiliary.indexerLoss }),
          ...(correct === undefined ? {} : { correct_tokens: await correct() }),
        },
      };
    } finally {
      arena.reset();
    }
  }

  /** Hidden states before the tokens that count, and what the whole pass left. */
  async #pass(arena: Arena, pack: PackedSequences, indexer?: IndexerStage) {
    const count = pack.targets.length;
    const model: TransformerModel = this.model;
    const rows =
      isMerging(model) || indexer !== undefined
        ? model.batch(arena, pack.sequences)
        : model.batch(arena, pack.sequences, { promptLengths: pack.promptLengths });
    const rowOf = rows.shared?.rowOf;
    const supervised = rowOf ? pack.supervisedRows.map((row) => rowOf[row] as number) : pack.supervisedRows;
    const targets = arena.tensor(pack.targets, [count], 'i32');
    const result = await (isMerging(model)
      ? model.hidden(rows, { form: 'expanded' })
      : model.hidden(rows, { form: 'expanded', ...(indexer && { indexer }) }));
    const hidden = gatherRows(result.hidden, arena.tensor(supervised, [count], 'i32'));
    return { rows, result, hidden, targets };
  }

  async #copyFrom(model: M): Promise<void> {
    const own = this.model.trainable();
    for (const [name, tensor] of model.trainable()) {
      const target = own.get(name);
      check(
        target?.shape.join() === tensor.shape.join(),
        () => `copyFrom: expected a model of the same shape, got one that differs in ${name}`,
      );
      (target as Tensor).write(await tensor.read());
    }
  }
}
