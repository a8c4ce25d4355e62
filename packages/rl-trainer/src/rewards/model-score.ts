/**
 * Rewards from reward models: helpfulness from the final summary only, harmlessness from the whole text.
 *
 * DeepSeek-R1 (https://arxiv.org/abs/2501.12948, section 2.3.4): judging only the summary keeps the reward model out
 * of the reasoning, and judging the whole text finds harm hidden in the thought. Helpfulness is the model's scalar,
 * safety its logistic function. Models are functions over batches, so any engine can be behind them.
 */
import { checkScores, type Reward, type Score } from './reward.ts';
import { sections } from './sections.ts';

/** What a reward model reads. */
export interface ScoredText {
  readonly prompt: string;
  readonly response: string;
}

/** A reward model: one scalar for each text, in order; null where it cannot judge one. */
export type RewardModel = (texts: readonly ScoredText[]) => Promise<readonly Score[]> | readonly Score[];

/** Settings of the helpfulness reward. */
export interface HelpfulOptions {
  /**
   * The score of a completion without a summary (its thought never ended, or nothing follows). Null leaves it out of
   * the batch, which forgives it; a model's scale is its own, so there is no default.
   */
  readonly withoutSummary: number | null;
}

/** The model's scalar for the text after `</think>`. */
export function helpfulReward(model: RewardModel, options: HelpfulOptions): Reward {
  return async (group) => {
    const summaries = group.map(({ completion }) => sections(completion).visible?.trim() ?? '');
    const judged = summaries.flatMap((summary, i) => (summary === '' ? [] : [i]));
    const scores: Score[] = group.map(() => options.withoutSummary);
    if (judged.length === 0) return scores;
    const found = await model(
      judged.map((i) => ({ prompt: group[i]?.prompt as string, response: summaries[i] as string })),
    );
    checkScores('helpfulReward: the model', found, judged.length);
    for (const [at, i] of judged.entries()) scores[i] = found[at] as Score;
    return scores;
  };
}

/** The logistic function of the model's scalar for the whole completion, thought included: 1 is safe. */
export function safetyReward(model: RewardModel): Reward {
  return async (group) => {
    const found = await model(group.map(({ prompt, completion }) => ({ prompt, response: completion })));
    checkScores('safetyReward: the model', found, group.length);
    return found.map((score) => (score === null ? null : 1 / (1 + Math.exp(-score))));
  };
}
