/**
 * Accuracy: does the visible answer agree with the gold answer?
 *
 * A rule, never a model, so that it cannot be talked into a reward (DeepSeek-R1, https://arxiv.org/abs/2501.12948,
 * section 2.2.2). Only what follows the one `</think>` counts; a completion that never ends its thought, or ends it
 * twice, answered nothing and scores 0. A gold answer that is missing or that the verifier cannot read gives null for
 * the whole group (open-r1 counts such rows as right in its length rewards).
 */
import { type Answerable, verify } from '@minke/reasoning-tasks';
import type { AnswerVerifier } from '../verifiers/verdict.ts';
import { perCompletion, type Reward, type RewardInput, type Score } from './reward.ts';
import { occurrences, sections } from './sections.ts';

/** Where the answer stands. */
export interface AccuracyOptions {
  /** False judges the whole completion, for models that do not think. Default true. */
  readonly thinks?: boolean;
}

/**
 * The verifier's score of each completion.
 *
 * @example
 * const accuracy = accuracyReward(mathVerifier({ mode: 'strict' }));
 */
export function accuracyReward(verifier: AnswerVerifier, options: AccuracyOptions = {}): Reward {
  const { thinks = true } = options;
  return perCompletion(async ({ completion, answer }): Promise<Score> => {
    if (answer === undefined || answer === null) return null;
    const answered = !thinks || occurrences(completion, '</think>') === 1;
    const visible = thinks ? (sections(completion).visible ?? '') : completion;
    // An empty answer still asks the verifier whether the gold answer can be read.
    return (await verifier(answered ? visible : '', answer)).score;
  });
}

/**
 * The score of a generated reasoning task by its own verifier.
 *
 * @param problemOf the task of an input, null where it is none. Default: `metadata`, which has to be the problem
 */
export function taskAccuracyReward(
  problemOf: (input: RewardInput) => Answerable | null = ({ metadata }) =>
    (metadata ?? null) as Answerable | null,
): Reward {
  return perCompletion((input) => {
    const problem = problemOf(input);
    return problem === null ? null : verify(problem, input.completion).score;
  });
}
