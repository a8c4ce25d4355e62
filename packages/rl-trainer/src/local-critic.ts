/**
 * PPO's critic in this process: a copy of the policy's trunk and one row of weights (scalar-model.ts), with an
 * optimiser of its own.
 *
 * The value of a token is read at the row before it, the state in which it was chosen, as verl does. A new head is all
 * zeros, so that the first advantages are those of REINFORCE; a reward model's weights and head are another common
 * beginning. Sequences are packed without padding. States and folders are those of `LocalScorer`.
 */
import { check } from '@minke/core';
import type { Arena, Tensor } from '@minke/tensor';
import type { DeepSeekModel, ModelConfig } from '@minke/transformer';
import type { TrainingSequence } from './interfaces.ts';
import type { LocalLearnerOptions } from './local-training.ts';
import { copyModel } from './model-copy.ts';
import { aggregate, packSegments, type StepTotals, tokenValueLoss } from './objectives/index.ts';
import { type PackedSequences, packTrainingSequences, split } from './packed-sequences.ts';
import { ScalarModel } from './scalar-model.ts';
import type { ValueLearner, ValueLossSpec } from './score-learner.ts';

/** Settings of a critic. */
export interface LocalCriticOptions extends LocalLearnerOptions {
  /** A trained head, [1, D]; default: zeros. */
  readonly head: ArrayLike<number>;
}

/**
 * @example
 * const critic = await LocalCritic.of(policy);
 * const values = await critic.values(sequences); // one row a sequence
 */
export class LocalCritic extends ScalarModel implements ValueLearner {
  #copy: Arena | undefined;

  /** @param model the trunk, which the critic trains: not the policy's own, but for example `loadScorer`'s */
  constructor(model: DeepSeekModel, { head, ...options }: Partial<LocalCriticOptions> = {}) {
    const init = { head: head ?? new Float32Array(model.config.hiddenSize) };
    super('LocalCritic', model, init, options);
  }

  /** A critic on a copy of the policy's trunk as it is now; takes as much memory, gradients and moments apart. */
  static async of(policy: DeepSeekModel, options: Partial<LocalCriticOptions> = {}): Promise<LocalCritic> {
    // Tied embeddings stand for a model without a head for tokens, as in scorers' folders.
    const config: ModelConfig = { ...policy.config, tieEmbeddings: true, mtpLayers: 0 };
    const { model, arena } = await copyModel(policy, { label: 'critic', config, trainable: true });
    const critic = new LocalCritic(model, options);
    critic.#copy = arena;
    return critic;
  }

  values(sequences: readonly TrainingSequence[]): Promise<number[][]> {
    return this.training.inTurn(async () => {
      if (sequences.length === 0) return [];
      const arena = this.training.inference;
      try {
        const pack = packTrainingSequences(sequences);
        return split(await this.#pass(arena, pack).numbers.read(), pack.lengths);
      } finally {
        arena.reset();
      }
    });
  }

  forwardBackward(
    sequences: readonly TrainingSequence[],
    spec: ValueLossSpec,
    totals: StepTotals,
  ): Promise<{ loss: number; values: number[][] }> {
    return this.training.inTurn(async () => {
      const { arena } = this.training;
      try {
        const pack = packTrainingSequences(sequences);
        const { numbers, result, rows } = this.#pass(arena, pack);
        const value = valueLoss(arena, pack, numbers, spec, totals);
        const share = sequences.length / totals.sequences;
        const { loss } = await this.training.backward(value, { result, rows, share });
        return { loss, values: split(await numbers.read(), pack.lengths) };
      } finally {
        arena.reset();
      }
    });
  }

  /** Gives the step's memory back once the calls before it are over, and the copy's where there is one. */
  override async dispose(): Promise<void> {
    await super.dispose();
    this.#copy?.dispose();
  }

  #pass(arena: Arena, pack: PackedSequences) {
    return this.pass(arena, pack.sequences, pack.supervisedRows);
  }
}

function valueLoss(
  arena: Arena,
  pack: PackedSequences,
  values: Tensor,
  { epsilon, aggregation }: ValueLossSpec,
  totals: StepTotals,
): Tensor {
  const [old, returns] = [pack.column('values'), pack.column('returns')];
  check(
    old !== undefined && returns !== undefined,
    () =>
      `forwardBackward: expected values and returns for the value loss, got no ${old ? 'returns' : 'values'}`,
  );
  const upload = (column: Float64Array) => arena.tensor(column, [column.length]);
  const each = tokenValueLoss(values, upload(old as Float64Array), upload(returns as Float64Array), {
    epsilon: epsilon ?? Number.POSITIVE_INFINITY,
  });
  return aggregate(each, packSegments(arena, pack.lengths), aggregation, totals);
}
