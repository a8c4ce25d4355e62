/**
 * One optimiser step of a policy on the sequences of a mini-batch, in micro-batches.
 *
 * Every divisor is a count of the whole step, so the split changes memory, speed and the order of float sums only:
 * gradients add up in the order of the sequences, micro-batch by micro-batch. (`bnpo` depends on it by definition.)
 */
import type { Learner, LossSpec, OptimStepResult, TrainingSequence } from '../interfaces.ts';
import type { RlConfig, StepTotals } from '../objectives/index.ts';
import { countedLength } from './masked.ts';
import { microBatches } from './micro-batches.ts';

export const lengthOf = ({ tokens }: { readonly tokens: readonly number[] }) => tokens.length;

/** Log-probabilities of all sequences, at most `tokensPerMicroBatch` rows at a time. */
export async function forwardAll(
  model: Pick<Learner, 'forward'>,
  sequences: readonly TrainingSequence[],
  { temperature, tokensPerMicroBatch }: Pick<RlConfig, 'temperature' | 'tokensPerMicroBatch'>,
): Promise<(readonly number[])[]> {
  const rows: (readonly number[])[] = [];
  for (const batch of microBatches(sequences, lengthOf, tokensPerMicroBatch))
    rows.push(...(await model.forward(batch, { temperature })));
  return rows;
}

/** Micro-batches of an optimiser step, and the counts that their sums are divided by. */
export function stepParts(
  sequences: readonly TrainingSequence[],
  counted: number,
  { tokensPerMicroBatch, maxCompletionLength }: RlConfig,
): { readonly batches: readonly TrainingSequence[][]; readonly totals: StepTotals } {
  const batches = microBatches(sequences, lengthOf, tokensPerMicroBatch);
  const tokens = sequences.reduce(
    (sum, s) => sum + countedLength({ length: s.tokens.length - s.completionStart }, s.mask),
    0,
  );
  return {
    batches,
    totals: { sequences: counted, tokens, maxCompletionLength, microBatches: batches.length },
  };
}

export interface PolicyUpdate {
  readonly loss: number;
  /** Of the policy before the update, one row a sequence. */
  readonly logProbs: readonly (readonly number[])[];
  readonly entropies: readonly (readonly number[])[];
  readonly step: OptimStepResult;
}

/** @param sequences with advantages, at least one; @param counted completions that the means are over */
export async function updatePolicy(
  learner: Learner,
  sequences: readonly TrainingSequence[],
  counted: number,
  { config, learningRate }: { readonly config: RlConfig; readonly learningRate: number },
): Promise<PolicyUpdate> {
  const { objective, temperature } = config;
  const { batches, totals } = stepParts(sequences, counted, config);
  const spec: LossSpec = { name: 'policy', objective, temperature };
  let loss = 0;
  const logProbs: (readonly number[])[] = [];
  const entropies: (readonly number[])[] = [];
  for (const batch of batches) {
    const result = await learner.forwardBackward(batch, spec, totals);
    loss += result.loss;
    logProbs.push(...result.logProbs);
    entropies.push(...result.entropies);
  }
  return { loss, logProbs, entropies, step: await learner.optimStep({ learningRate }) };
}
