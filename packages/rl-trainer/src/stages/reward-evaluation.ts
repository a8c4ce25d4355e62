/**
 * How good a reward model is on examples it never saw, and whether it only measures length.
 *
 * Preference data often prefers the longer text, and a model that learnt just that looks accurate (length bias). So
 * beside the accuracy stand what length alone reaches, in the direction (and, for labels, with the threshold) that is
 * best on the training set, and how strongly scores go with length. For pairs the correlation is that of the
 * differences within pairs, which leaves out what the prompts differ in.
 */
import { meanOf } from '../objectives/statistics.ts';
import type { ScoreLearner, ScoreSequence } from '../score-learner.ts';
import { microBatches } from './micro-batches.ts';

/** Pairs (chosen, rejected) or labelled texts, one or two sequences each. */
export type ScoreUnit = readonly ScoreSequence[];

/** Figures of the held-out set; in metrics with `eval_` before them. */
export interface RewardEvaluation {
  /** Pairs, or labelled texts. */
  readonly eval_n: number;
  /** Share of pairs whose chosen text scores higher, or of texts on their label's side of 0. */
  readonly eval_accuracy: number;
  /** Mean lead of chosen texts, or of scores towards their labels. */
  readonly eval_margin: number;
  /** Accuracy of judging by length alone. */
  readonly eval_length_baseline: number;
  /** Correlation of score and length, in [-1, 1]; 0 where one of them does not vary. */
  readonly eval_length_correlation: number;
  /** Accuracy on pairs whose chosen text is the shorter one; null where there are none. */
  readonly eval_accuracy_shorter: number | null;
}

/** Scores of many texts, in batches of at most so many tokens. */
export async function scoreAll(
  learner: Pick<ScoreLearner, 'score'>,
  texts: readonly (readonly number[])[],
  tokensPerBatch: number,
): Promise<number[]> {
  const scores: number[] = [];
  for (const batch of microBatches(texts, ({ length }) => length, tokensPerBatch))
    scores.push(...(await learner.score(batch)));
  return scores;
}

/** Judges a held-out set; the training set is only used for what length alone would have learnt from it. */
export async function evaluateScores(
  learner: Pick<ScoreLearner, 'score'>,
  heldOut: readonly ScoreUnit[],
  train: readonly ScoreUnit[],
  tokensPerBatch: number,
): Promise<RewardEvaluation> {
  const scores = await scoreAll(
    learner,
    heldOut.flatMap((unit) => unit.map(({ tokens }) => tokens)),
    tokensPerBatch,
  );
  const lengths = heldOut.flatMap((unit) => unit.map(({ tokens }) => tokens.length));
  return heldOut[0]?.length === 2
    ? pairFigures(heldOut, train, scores, lengths)
    : labelFigures(heldOut, train, scores, lengths);
}

const lead = (values: readonly number[]): number[] =>
  values.flatMap((value, i) => (i % 2 === 0 ? [value - (values[i + 1] as number)] : []));

function pairFigures(
  heldOut: readonly ScoreUnit[],
  train: readonly ScoreUnit[],
  scores: readonly number[],
  lengths: readonly number[],
): RewardEvaluation {
  const leads = lead(scores);
  const longer = lead(lengths);
  // A coin decides where both are of one length.
  const byLength = (differences: readonly number[], sign: number) =>
    meanOf(differences.map((by) => (by === 0 ? 0.5 : by * sign > 0 ? 1 : 0)));
  const trained = lead(train.flatMap((unit) => unit.map(({ tokens }) => tokens.length)));
  const direction = byLength(trained, 1) >= byLength(trained, -1) ? 1 : -1;
  const shorter = leads.filter((_, i) => (longer[i] as number) < 0);
  const right = (values: readonly number[]) => meanOf(values.map((value) => (value > 0 ? 1 : 0)));
  return {
    eval_n: heldOut.length,
    eval_accuracy: right(leads),
    eval_margin: meanOf(leads),
    eval_length_baseline: byLength(longer, direction),
    eval_length_correlation: cosine(leads, longer),
    eval_accuracy_shorter: shorter.length === 0 ? null : right(shorter),
  };
}

function labelFigures(
  heldOut: readonly ScoreUnit[],
  train: readonly ScoreUnit[],
  scores: readonly number[],
  lengths: readonly number[],
): RewardEvaluation {
  const labels = heldOut.map(([text]) => text?.label as number);
  const towards = scores.map((score, i) => score * (2 * (labels[i] as number) - 1));
  const centred = (values: readonly number[]) => values.map((value) => value - meanOf(values));
  const rule = bestThreshold(train.map(([text]) => [text?.tokens.length as number, text?.label as number]));
  return {
    eval_n: heldOut.length,
    eval_accuracy: meanOf(towards.map((score) => (score > 0 ? 1 : 0))),
    eval_margin: meanOf(towards),
    eval_length_baseline: meanOf(lengths.map((length, i) => (rule(length) === labels[i] ? 1 : 0))),
    eval_length_correlation: cosine(centred(scores), centred(lengths)),
    eval_accuracy_shorter: null,
  };
}

/** The label by length that is right most often on these. */
function bestThreshold(
  texts: readonly (readonly [length: number, label: number])[],
): (length: number) => number {
  let best = { right: -1, threshold: 0, above: 1 };
  for (const threshold of new Set([0, ...texts.map(([length]) => length)]))
    for (const above of [1, 0]) {
      const right = texts.filter(
        ([length, label]) => label === (length > threshold ? above : 1 - above),
      ).length;
      if (right > best.right) best = { right, threshold, above };
    }
  return (length) => (length > best.threshold ? best.above : 1 - best.above);
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, v, i) => sum + v * (y[i] as number), 0);
  const size = Math.sqrt(dot(a, a) * dot(b, b));
  return size === 0 ? 0 : dot(a, b) / size;
}
