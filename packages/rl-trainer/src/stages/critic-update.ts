/**
 * The critic's half of PPO: values of a rollout, and one optimiser step on the sequences of a mini-batch, cut into
 * micro-batches as the policy's.
 */
import type { OptimStepResult, TrainingSequence } from '../interfaces.ts';
import type { CriticConfig, RlConfig } from '../objectives/index.ts';
import type { ValueLearner, ValueLossSpec } from '../score-learner.ts';
import { microBatches } from './micro-batches.ts';
import { lengthOf, stepParts } from './policy-update.ts';

/** Values of all sequences, at most `tokensPerMicroBatch` rows at a time. */
export async function valuesOf(
  critic: ValueLearner,
  sequences: readonly TrainingSequence[],
  { tokensPerMicroBatch }: RlConfig,
): Promise<(readonly number[])[]> {
  const rows: (readonly number[])[] = [];
  for (const batch of microBatches(sequences, lengthOf, tokensPerMicroBatch))
    rows.push(...(await critic.values(batch)));
  return rows;
}

export interface CriticUpdate {
  readonly loss: number;
  /** Of the critic before the update, one row a sequence. */
  readonly values: readonly (readonly number[])[];
  readonly step: OptimStepResult;
}

/** @param sequences with values and returns, at least one; @param counted completions that the means are over */
export async function updateCritic(
  critic: ValueLearner,
  sequences: readonly TrainingSequence[],
  counted: number,
  { config, learningRate }: { readonly config: RlConfig; readonly learningRate: number },
): Promise<CriticUpdate> {
  const { batches, totals } = stepParts(sequences, counted, config);
  const { epsilon } = config.critic as CriticConfig;
  const spec: ValueLossSpec = { name: 'value', epsilon, aggregation: config.objective.aggregation };
  let loss = 0;
  const values: (readonly number[])[] = [];
  for (const batch of batches) {
    const result = await critic.forwardBackward(batch, spec, totals);
    loss += result.loss;
    values.push(...result.values);
  }
  return { loss, values, step: await critic.optimStep({ learningRate }) };
}
