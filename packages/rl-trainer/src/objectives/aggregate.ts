/**
 * From losses of tokens to one loss: five ways, which differ in their gradient.
 *
 * Sums are divided by counts of the whole optimiser step, given by the caller, so the gradients of micro-batches
 * add up to that of the whole batch however it is split. The exception is `bnpo`, whose divisor is the
 * micro-batch's own.
 *
 * grpo                 mean over sequences of the mean over their tokens: long wrong answers are punished less a token
 * bnpo                 mean over the tokens of the micro-batch
 * dapo                 mean over the tokens of the step (https://arxiv.org/abs/2503.14476, section 3.3)
 * dr_grpo              sum / (sequences x length limit), a constant (https://arxiv.org/abs/2503.20783)
 * seq-mean-token-sum   mean over sequences of the sum over their tokens
 */
import { check } from '@minke/core';
import { affine, mul, sum, type Tensor } from '@minke/tensor';
import { type Segments, spread } from './segments.ts';

export type Aggregation = 'grpo' | 'bnpo' | 'dapo' | 'dr_grpo' | 'seq-mean-token-sum';

/** Counts over the whole optimiser step, all micro-batches and workers. */
export interface StepTotals {
  /** Completions, those without tokens included. */
  readonly sequences: number;
  /** Tokens that count. */
  readonly tokens: number;
  /** Length limit of a completion, in tokens; needed by dr_grpo. */
  readonly maxCompletionLength?: number;
  /** Micro-batches of the step, default 1; used by bnpo. */
  readonly microBatches?: number;
}

/** Losses of tokens [N] to one element, []. Differentiable. */
export function aggregate(
  perToken: Tensor,
  segments: Segments,
  mode: Aggregation,
  totals: StepTotals,
): Tensor {
  const total = (x: Tensor, divisor: number) => affine(sum(x), 1 / divisor, 0);
  const { sequences, tokens } = totals;
  check(
    sequences >= segments.lengths.length && tokens >= segments.tokens,
    () =>
      `aggregate: expected totals of the whole step, got ${sequences} sequences and ${tokens} tokens for a part with ${segments.lengths.length} and ${segments.tokens}`,
  );
  switch (mode) {
    case 'grpo':
      return total(mul(perToken, spread(segments.inverseLengths, segments)), sequences);
    case 'bnpo':
      return total(perToken, Math.max(segments.tokens, 1) * (totals.microBatches ?? 1));
    case 'dapo':
      return total(perToken, Math.max(tokens, 1));
    case 'dr_grpo': {
      const limit = totals.maxCompletionLength ?? 0;
      check(limit > 0, () => 'aggregate: expected maxCompletionLength for dr_grpo, got none');
      return total(perToken, sequences * limit);
    }
    case 'seq-mean-token-sum':
      return total(perToken, sequences);
  }
}
