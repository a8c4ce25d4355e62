/**
 * Training of reward models: on preference pairs (Bradley-Terry; helpfulness) or on labelled texts (binary
 * cross-entropy; safety), as DeepSeek-R1 does (https://arxiv.org/abs/2501.12948v2, section 3.1).
 *
 * The held-out set is judged at every `evaluateEvery` steps and at the end, with the check for length bias
 * (reward-evaluation.ts). Batches are drawn by a seeded shuffle; a killed run continues to the same bytes.
 */
import { check } from '@minke/core';
import { ShuffledSource } from '../example-source.ts';
import { rewardModelMetrics } from '../objectives/index.ts';
import { scoreMetrics } from '../objectives/reward-model-losses.ts';
import type { RewardModel, ScoredText } from '../rewards/model-score.ts';
import { type Schedule, scheduleFactor, scheduleProblems } from '../schedule.ts';
import type { ScoreLearner, ScoreLossSpec, ScoreSequence } from '../score-learner.ts';
import type { PreferencePair } from './encode-rows.ts';
import { microBatches } from './micro-batches.ts';
import { evaluateScores, type RewardEvaluation, type ScoreUnit, scoreAll } from './reward-evaluation.ts';
import {
  refuse,
  runStage,
  type StageConfig,
  type StageMetrics,
  type StageOptions,
  settingProblems,
} from './stage-run.ts';

/** Settings of the training. Plain data. */
export interface RewardModelConfig extends StageConfig {
  /** Pairs, or labelled texts, of one optimiser step. */
  readonly examplesPerStep: number;
  /** Token rows of one forward-backward pass, at most. */
  readonly tokensPerMicroBatch: number;
  /** Peak learning rate. */
  readonly learningRate: number;
  readonly schedule: Schedule;
  /** Weight of (r_c + r_r)^2, which keeps the scores of pairs near 0. */
  readonly centering: number;
  /** Steps between evaluations; the last step always has one. */
  readonly evaluateEvery: number;
  readonly seed: number;
}

export const defaultRewardModel: RewardModelConfig = {
  steps: 200,
  examplesPerStep: 32,
  tokensPerMicroBatch: 8192,
  learningRate: 1e-4,
  schedule: { shape: 'cosine', warmupSteps: 10, finalFraction: 0.1, decayFraction: 0.2 },
  centering: 0.01,
  evaluateEvery: 50,
  checkpointEvery: 100,
  seed: 0,
};

/** A text and its label: 1 safe (or whatever the score stands for), 0 not. */
export interface LabelledText {
  readonly tokens: readonly number[];
  readonly label: 0 | 1;
}

/** One set to learn from and one that is only judged. */
export type RewardData =
  | {
      readonly kind: 'pairs';
      readonly train: readonly PreferencePair[];
      readonly heldOut: readonly PreferencePair[];
    }
  | {
      readonly kind: 'labels';
      readonly train: readonly LabelledText[];
      readonly heldOut: readonly LabelledText[];
    };

/** One line of `metrics.jsonl`, TRL's names; the `eval_` figures where the step has an evaluation. */
export interface RewardModelStepMetrics extends StageMetrics, Partial<RewardEvaluation> {
  readonly accuracy: number;
  readonly margin: number;
  readonly min_reward: number;
  readonly mean_reward: number;
  readonly max_reward: number;
  readonly learning_rate: number;
  readonly grad_norm: number;
  readonly max_vio: number;
  readonly dead_experts: number;
}

export interface RewardModelOptions extends StageOptions<RewardModelStepMetrics> {
  readonly learner: ScoreLearner;
  readonly data: RewardData;
  readonly config: RewardModelConfig;
}

/**
 * Trains a scoring model. Resolves with the last step's metrics, its evaluation among them; a complete run is only
 * loaded. Throws `invalid-config` for bad settings or another run's folder, `aborted` after the signal.
 *
 * @example
 * const learner = new LocalScorer(model);
 * const data = { kind: 'pairs', train, heldOut }; // of encodePreference
 * const { eval_accuracy, eval_length_baseline } = await trainRewardModel({ learner, data, config: defaultRewardModel, folder });
 */
export function trainRewardModel(options: RewardModelOptions): Promise<RewardModelStepMetrics> {
  const { learner, data, config } = options;
  validate(config);
  const [train, heldOut] = [unitsOf(data, 'train'), unitsOf(data, 'heldOut')];
  const spec: ScoreLossSpec =
    data.kind === 'pairs' ? { name: 'bradley_terry', centering: config.centering } : { name: 'pointwise' };
  const source = new ShuffledSource(train, config.seed);
  return runStage<RewardModelStepMetrics>({
    ...options,
    name: 'trainRewardModel',
    source,
    async step(step, tokensBefore) {
      const units = Array.from({ length: config.examplesPerStep }, () => source.next());
      const totals = { sequences: units.reduce((n, unit) => n + unit.length, 0) };
      const scores: number[] = [];
      let loss = 0;
      for (const batch of microBatches(units, rowsOf, config.tokensPerMicroBatch)) {
        const result = await learner.forwardBackward(batch.flat(), spec, totals);
        loss += result.loss;
        scores.push(...result.scores);
      }
      const rate = config.learningRate * scheduleFactor(config.schedule, step, config.steps);
      const { gradNorm, metrics } = await learner.optimStep({ learningRate: rate });
      const evaluate = step + 1 === config.steps || (step + 1) % config.evaluateEvery === 0;
      return {
        global_step: step + 1,
        loss,
        ...figures(units, scores),
        learning_rate: rate,
        grad_norm: gradNorm,
        num_tokens: tokensBefore + units.reduce((n, unit) => n + rowsOf(unit), 0),
        max_vio: metrics.max_vio ?? 0,
        dead_experts: metrics.dead_experts ?? 0,
        ...(evaluate && (await evaluateScores(learner, heldOut, train, config.tokensPerMicroBatch))),
      };
    },
    show: ({ loss, accuracy }) => `loss ${loss.toFixed(4)}  accuracy ${accuracy.toFixed(3)}`,
  });
}

/**
 * A trained scorer as the rewards take it.
 *
 * @param options.encode ids of a text: `encodeScoredText` with `summary` for helpfulReward, `whole` for safetyReward
 * @example
 * const model = rewardModelOf(scorer, { encode: (text) => encodeScoredText(text, format, 'summary') });
 * const reward = helpfulReward(model, { withoutSummary: -5 });
 */
export function rewardModelOf(
  learner: Pick<ScoreLearner, 'score'>,
  options: {
    readonly encode: (text: ScoredText) => readonly number[];
    /** Token rows scored together, at most. Default 8192. */
    readonly tokensPerBatch?: number;
  },
): RewardModel {
  return (texts) => scoreAll(learner, texts.map(options.encode), options.tokensPerBatch ?? 8192);
}

const rowsOf = (unit: ScoreUnit): number => unit.reduce((n, { tokens }) => n + tokens.length, 0);

function unitsOf(data: RewardData, set: 'train' | 'heldOut'): ScoreUnit[] {
  check(data[set].length > 0, () => `trainRewardModel: expected one example or more in ${set}, got none`);
  if (data.kind === 'labels')
    return data[set].map(({ tokens, label }, i) => {
      check(
        label === 0 || label === 1,
        () => `trainRewardModel: expected label 0 or 1 in ${set} ${i}, got ${label}`,
      );
      return [{ tokens, label }];
    });
  return data[set].map(({ chosen, rejected, margin = 0 }): ScoreSequence[] => [
    { tokens: [...chosen.ids], margin },
    { tokens: [...rejected.ids] },
  ]);
}

function figures(units: readonly ScoreUnit[], scores: readonly number[]) {
  if (units[0]?.length === 2)
    return rewardModelMetrics(
      scores.filter((_, i) => i % 2 === 0),
      scores.filter((_, i) => i % 2 === 1),
    );
  const towards = scores.map((score, i) => score * (2 * (units[i]?.[0]?.label as number) - 1));
  return scoreMetrics(towards, scores);
}

function validate(config: RewardModelConfig): void {
  refuse('trainRewardModel', [
    ...settingProblems(
      config,
      ['steps', 'examplesPerStep', 'tokensPerMicroBatch', 'evaluateEvery', 'checkpointEvery'],
      ['learningRate', 'centering', 'seed'],
    ),
    ...scheduleProblems(config.schedule),
  ]);
}
