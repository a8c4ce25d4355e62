/**
 * What the base model is trained on, by position: a stand-in for the web text of a real pre-training run.
 *
 * **Planted**: direct answers, a minority of sloppy thoughts and some chat, good and bad, in stated shares. What later
 * stages amplify is in here on purpose, as it is in the corpora of large models by nature; nothing is discovered that
 * was not put in. Shares after Tsilivis et al. 2025 (https://arxiv.org/abs/2510.11495), where a minority of thoughts in
 * a mixture of short answers is what reinforcement finds and lengthens.
 */
import { check, Random } from '@minke/core';
import { corrupted } from './corruptions.ts';
import { type Row, type RowAt, rowOf, type Task } from './task.ts';
import { type TaskSet, taskSets } from './task-sets.ts';
import { drawTask, pickKey, seedOf } from './task-stream.ts';
import { directReply, sloppyHabits, sloppyThought, type ThoughtHabits } from './thoughts.ts';

/** What the mixture is made of. */
export interface BaseMixture {
  /** Relative frequencies of rows: problems answered at once, problems thought about, chat. */
  readonly shares: { readonly direct: number; readonly thought: number; readonly general: number };
  readonly habits: ThoughtHabits;
  /** Share of good replies in chat, in [0, 1]; the others are spoilt by an operator of `corruptions`. */
  readonly goodReplies: number;
  /** Which problems. Default: the set `reasoning`. */
  readonly problems?: TaskSet;
}

/** The mixture of the recipe. */
export const baseMixture: BaseMixture = {
  shares: { direct: 0.55, thought: 0.35, general: 0.1 },
  habits: sloppyHabits,
  goodReplies: 0.5,
};

/** Throws `invalid-argument` naming everything that is wrong with a mixture. */
export function checkBaseMixture({ shares, habits, goodReplies }: BaseMixture): void {
  const { mostTries, ...habitShares } = habits;
  const bad = Object.entries({ ...habitShares, goodReplies }).filter(
    ([, value]) => !(value >= 0 && value <= 1),
  );
  const weights = Object.values(shares);
  if (!weights.every((weight) => weight >= 0) || !weights.some((weight) => weight > 0))
    bad.push(['shares', Number.NaN]);
  if (!Number.isSafeInteger(mostTries) || mostTries < 1) bad.push(['mostTries', mostTries]);
  check(
    bad.length === 0,
    () =>
      'baseMixture: expected shares in [0, 1], row shares >= 0 with one above 0, and mostTries >= 1, got bad ' +
      `${bad.map(([name, value]) => `${name} ${value}`).join(', ')}; fix them`,
  );
}

/** A general task with a good or a spoilt reply. */
export function chatRow(task: Task, goodReplies: number, random: Random): Row {
  if (task.domain === 'reasoning' || random.uniform() < goodReplies)
    return rowOf(task, { reasoning: '', answer: task.answer, style: 'good' });
  const { reply: answer, name: style } = corrupted(task, task.answer, random);
  return rowOf(task, { reasoning: '', answer, style });
}

/**
 * The rows of the mixture, of the train split only.
 *
 * @example
 * const at = baseRows({ seed: 1 });
 * at(0); // { question: 'What is 48 + 7?', reasoning: '', answer: 'The answer is 55.', style: 'direct', ... }
 */
export function baseRows({
  seed,
  mixture = baseMixture,
}: {
  readonly seed: number;
  readonly mixture?: BaseMixture;
}): RowAt {
  checkBaseMixture(mixture);
  const stream = seedOf(seed, 'base mixture');
  const problems = mixture.problems ?? taskSets.reasoning;
  return (position) => {
    const random = new Random(stream, position);
    const sort = pickKey(random, mixture.shares);
    const task = drawTask(random, sort === 'general' ? taskSets.general : problems, 'train');
    if (task.domain === 'general') return chatRow(task, mixture.goodReplies, random);
    if (sort === 'thought') return rowOf(task, sloppyThought(task.metadata, mixture.habits, random));
    return rowOf(task, directReply(task.metadata, mixture.habits, random));
  };
}
