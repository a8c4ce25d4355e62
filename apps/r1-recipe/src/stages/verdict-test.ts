/**
 * Do a model's own checks matter to its answers? A causal test on search tasks: the same problems are answered greedily
 * with the verdicts left as the model writes them, with each replaced by the toss of a coin, and with each replaced by
 * the truth, while it goes on from what stands there.
 *
 * If checking were decoration, a coin would do as well; what true verdicts add is what better checks could still give.
 * Precision and recall of verdicts say how often they are true, this says what they are good for.
 */

import { Random } from '@minke/core';
import { bootstrapMean, pairedBootstrap } from '@minke/evaluation';
import type { LanguageModel } from '@minke/inference';
import { type StatedVerdict, verdictsOf, verify } from '@minke/reasoning-tasks';
import type { LocalPolicy } from '@minke/rl-trainer';
import { heldOutProblems, type ReasoningTask, seedOf } from '../data/index.ts';
import { spellings } from '../data/step-words.ts';
import type { EvaluationRow } from '../report/evaluation-file.ts';
import type { MeasureSettings } from './measure.ts';
import { sampleInSteps } from './stepped-sampling.ts';
import { promptIds } from './task-prompts.ts';

/** Who decides on a verdict: the model itself, a coin, or the problem's verifier. */
export type VerdictArm = 'own' | 'coin' | 'true';

/** A reply under an arm. */
export interface ArmReply {
  readonly task: ReasoningTask;
  readonly text: string;
  /** 1 right, 0 wrong. */
  readonly score: number;
  /** Verdicts that the model wrote. */
  readonly verdicts: number;
  /** Of these, the ones that were replaced by the other word. */
  readonly changed: number;
}

type Verdict = StatedVerdict['said'];

const words: Readonly<Record<Verdict, readonly [string, string]>> = {
  right: spellings('right'),
  wrong: spellings('wrong'),
};

/** Ids of the verdicts in both languages, with what they say and how the other verdict is written. */
function verdictIds({ tokenizer }: Pick<LanguageModel, 'tokenizer'>) {
  const idOf = (word: string) => tokenizer.encode(word);
  const found = new Map<number, Readonly<Record<Verdict, number>>>();
  for (const language of [0, 1] as const) {
    const ids = { right: idOf(words.right[language]), wrong: idOf(words.wrong[language]) };
    // A word of several tokens cannot be replaced by one; the recipe's tokenizer has one token for each.
    if (ids.right.length !== 1 || ids.wrong.length !== 1) continue;
    const pair = { right: ids.right[0] as number, wrong: ids.wrong[0] as number };
    found.set(pair.right, pair).set(pair.wrong, pair);
  }
  return found;
}

/** Answers tasks greedily with the verdicts of an arm. Deterministic in its arguments. */
export async function answersUnder(
  arm: VerdictArm,
  tasks: readonly ReasoningTask[],
  policy: Pick<LocalPolicy, 'sampler' | 'decode'>,
  language: LanguageModel,
  { maxNewTokens, seed }: { readonly maxNewTokens: number; readonly seed: number },
): Promise<ArmReply[]> {
  const ids = verdictIds(language);
  const written = tasks.map(() => 0);
  const changed = tasks.map(() => 0);
  const replace = (i: number, tokens: readonly number[]): number => {
    const token = tokens.at(-1) as number;
    const { id, metadata } = tasks[i] as ReasoningTask;
    const text = policy.decode(tokens);
    const verdicts = text.includes('</think>') ? [] : verdictsOf(metadata, text);
    const before = verdictsOf(metadata, policy.decode(tokens.slice(0, -1)));
    const verdict = verdicts.at(-1);
    // A verdict's word elsewhere, such as in an answer, judges nothing.
    if (verdict === undefined || verdicts.length === before.length) return token;
    const count = (written[i] as number) + 1;
    written[i] = count;
    const truth = verdict.holds === (verdict.said === 'right') ? 'right' : 'wrong';
    const coin = new Random(seedOf(seed, id), count).uniform() < 0.5 ? 'right' : 'wrong';
    const said = { own: verdict.said, coin, true: truth }[arm] as Verdict;
    if (said !== verdict.said) changed[i] = (changed[i] as number) + 1;
    return (ids.get(token) as Readonly<Record<Verdict, number>>)[said];
  };
  const samples = await sampleInSteps(
    policy.sampler,
    {
      prompts: tasks.map((task) => promptIds(task, language)),
      maxNewTokens,
      stopTokenIds: language.stopTokenIds,
      breakTokenIds: [...ids.keys()],
    },
    replace,
  );
  return samples.map(({ tokens }, i): ArmReply => {
    const task = tasks[i] as ReasoningTask;
    const text = policy.decode(tokens);
    return {
      ...{ task, text, score: verify(task.metadata, text).score ?? 0 },
      ...{ verdicts: written[i] as number, changed: changed[i] as number },
    };
  });
}

const group = 'causal test of verdicts';

/** The rows of the test, on the held-out search tasks that every model is measured on. */
export async function testVerdicts(
  policy: Pick<LocalPolicy, 'sampler' | 'decode'>,
  language: LanguageModel,
  { search, maxNewTokens }: Pick<MeasureSettings, 'search' | 'maxNewTokens'>,
  seed: number,
): Promise<EvaluationRow[]> {
  if (search === 0) return [];
  const tasks = heldOutProblems('search', search, 0) as ReasoningTask[];
  const under = async (arm: VerdictArm) =>
    answersUnder(arm, tasks, policy, language, { maxNewTokens, seed: seedOf(seed, 'verdicts') });
  const [own, coin, truth] = [await under('own'), await under('coin'), await under('true')];
  const scores = (replies: readonly ArmReply[]) => replies.map(({ score }) => score);
  const rest = { n: tasks.length, seeds: [seed] };
  const row = (detail: string, values: readonly number[]): EvaluationRow => ({
    ...{ metric: `${group}/${detail}`, ...bootstrapMean(values), ...rest },
  });
  const difference = (detail: string, a: readonly ArmReply[], b: readonly ArmReply[]): EvaluationRow => {
    const { value, low, high } = pairedBootstrap(scores(a), scores(b));
    return { metric: `${group}/${detail}`, value, low, high, ...rest };
  };
  return [
    row('own', scores(own)),
    row('coin', scores(coin)),
    row('true', scores(truth)),
    difference('own minus coin', coin, own),
    difference('true minus own', own, truth),
    row(
      'replies with a verdict',
      own.map(({ verdicts }) => Number(verdicts > 0)),
    ),
  ];
}
