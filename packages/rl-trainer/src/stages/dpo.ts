/**
 * Direct preference optimisation: a policy learns from pairs without a reward model (https://arxiv.org/abs/2305.18290;
 * IPO and the robust variant by the configuration).
 *
 * The reference is a model that stays as it was, usually the policy before training; its log-probabilities are
 * computed beside each micro-batch. Pairs are drawn by a seeded shuffle and whole pairs go into a micro-batch. A killed
 * run continues to the same bytes.
 */
import { check } from '@minke/core';
import { ShuffledSource } from '../example-source.ts';
import type { Learner, LossSpec, TrainingSequence } from '../interfaces.ts';
import { type DpoConfig, type PreferenceMetrics, preferenceMetrics } from '../objectives/index.ts';
import { type Schedule, scheduleFactor, scheduleProblems } from '../schedule.ts';
import type { PreferencePair } from './encode-rows.ts';
import { microBatches } from './micro-batches.ts';
import {
  refuse,
  runStage,
  type StageConfig,
  type StageMetrics,
  type StageOptions,
  settingProblems,
} from './stage-run.ts';

/** Settings of the training. Plain data. */
export interface DpoStageConfig extends StageConfig {
  /** The loss: variant, strength of the pull to the reference, label smoothing. */
  readonly dpo: DpoConfig;
  /** Pairs of one optimiser step. */
  readonly pairsPerStep: number;
  /** Token rows of one forward-backward pass, at most, in whole pairs. */
  readonly tokensPerMicroBatch: number;
  /** Peak learning rate. */
  readonly learningRate: number;
  readonly schedule: Schedule;
  /** Steps between evaluations, where there is a held-out set; the last step always has one. */
  readonly evaluateEvery: number;
  readonly seed: number;
}

/** TRL's loss settings; the learning rate is for models of a few million parameters. */
export const defaultDpo: DpoStageConfig = {
  dpo: { name: 'sigmoid', beta: 0.1, labelSmoothing: 0 },
  steps: 200,
  pairsPerStep: 32,
  tokensPerMicroBatch: 8192,
  learningRate: 5e-5,
  schedule: { shape: 'linear', warmupSteps: 10, finalFraction: 0, decayFraction: 0.2 },
  evaluateEvery: 50,
  checkpointEvery: 100,
  seed: 0,
};

/** One line of `metrics.jsonl`, TRL's names; the `eval_` figures where the step has an evaluation. */
export interface DpoMetrics extends StageMetrics, PreferenceMetrics {
  readonly learning_rate: number;
  readonly grad_norm: number;
  readonly max_vio: number;
  readonly dead_experts: number;
  readonly 'eval_rewards/accuracies'?: number;
  readonly 'eval_rewards/margins'?: number;
}

export interface DpoOptions extends StageOptions<DpoMetrics> {
  readonly learner: Learner;
  /** The policy before training, unchanging: `LocalReference.of(model)`, say. */
  readonly reference: Pick<Learner, 'forward'>;
  readonly pairs: readonly PreferencePair[];
  /** Pairs that are only judged. */
  readonly heldOut?: readonly PreferencePair[];
  readonly config: DpoStageConfig;
}

/**
 * Trains the learner's policy. Resolves with the last step's metrics; a complete run is only loaded.
 * Throws `invalid-config` for bad settings or another run's folder, `aborted` after the signal.
 *
 * @example
 * const rows = await readRowFile('preferences.jsonl', 'preference');
 * const pairs = rows.map((row) => encodePreference(row, language));
 * const reference = await LocalReference.of(model);
 * await trainDpo({ learner: new LocalLearner(model), reference, pairs, config: defaultDpo, folder: 'runs/dpo' });
 */
export async function trainDpo(options: DpoOptions): Promise<DpoMetrics> {
  const { learner, reference, pairs, heldOut = [], config } = options;
  validate(config);
  check(pairs.length > 0, () => 'trainDpo: expected one pair or more, got none');
  const source = new ShuffledSource(pairs, config.seed);
  const spec: LossSpec = { name: 'dpo', dpo: config.dpo };
  return runStage<DpoMetrics>({
    ...options,
    name: 'trainDpo',
    source,
    async step(step, tokensBefore) {
      const taken = Array.from({ length: config.pairsPerStep }, () => sequencesOf(source.next()));
      const all = taken.flat();
      const tokens = all.reduce((n, s) => n + s.tokens.length - s.completionStart, 0);
      const totals = { sequences: all.length, tokens };
      const sums: LogProbSums = { policy: [], reference: [] };
      let loss = 0;
      for (const part of microBatches(taken, rowsOf, config.tokensPerMicroBatch)) {
        const batch = part.flat();
        const refs = await reference.forward(batch, { temperature: 1 });
        const withRefs = batch.map((sequence, i) => ({
          ...sequence,
          refLogProbs: refs[i] as readonly number[],
        }));
        const result = await learner.forwardBackward(withRefs, spec, totals);
        loss += result.loss;
        sums.policy.push(...result.logProbs.map(total));
        sums.reference.push(...refs.map(total));
      }
      const rate = config.learningRate * scheduleFactor(config.schedule, step, config.steps);
      const { gradNorm, metrics } = await learner.optimStep({ learningRate: rate });
      const evaluate =
        heldOut.length > 0 && (step + 1 === config.steps || (step + 1) % config.evaluateEvery === 0);
      return {
        global_step: step + 1,
        loss,
        ...figures(sums, config.dpo.beta),
        learning_rate: rate,
        grad_norm: gradNorm,
        num_tokens: tokensBefore + all.reduce((n, s) => n + s.tokens.length, 0),
        max_vio: metrics.max_vio ?? 0,
        dead_experts: metrics.dead_experts ?? 0,
        ...(evaluate && (await evaluated(options, heldOut))),
      };
    },
    show: (metrics) =>
      `loss ${metrics.loss.toFixed(4)}  accuracy ${metrics['rewards/accuracies'].toFixed(3)}`,
  });
}

/** Of whole completions, chosen and rejected in turn. */
interface LogProbSums {
  readonly policy: number[];
  readonly reference: number[];
}

const total = (row: readonly number[]): number => row.reduce((a, b) => a + b, 0);
const rowsOf = (pair: readonly TrainingSequence[]): number =>
  pair.reduce((n, { tokens }) => n + tokens.length, 0);

function sequencesOf({ chosen, rejected }: PreferencePair): TrainingSequence[] {
  return [chosen, rejected].map(({ ids, completionStart }) => ({ tokens: [...ids], completionStart }));
}

function figures({ policy, reference }: LogProbSums, beta: number): PreferenceMetrics {
  const side = (sums: readonly number[], which: number) => sums.filter((_, i) => i % 2 === which);
  return preferenceMetrics(side(policy, 0), side(policy, 1), side(reference, 0), side(reference, 1), beta);
}

async function evaluated({ learner, reference, config }: DpoOptions, heldOut: readonly PreferencePair[]) {
  const sums: LogProbSums = { policy: [], reference: [] };
  for (const part of microBatches(heldOut.map(sequencesOf), rowsOf, config.tokensPerMicroBatch)) {
    const batch = part.flat();
    sums.policy.push(...(await learner.forward(batch, { temperature: 1 })).map(total));
    sums.reference.push(...(await reference.forward(batch, { temperature: 1 })).map(total));
  }
  const found = figures(sums, config.dpo.beta);
  return {
    'eval_rewards/accuracies': found['rewards/accuracies'],
    'eval_rewards/margins': found['rewards/margins'],
  };
}

function validate(config: DpoStageConfig): void {
  const { name, beta, labelSmoothing } = config.dpo;
  const problems = settingProblems(
    config,
    ['steps', 'pairsPerStep', 'tokensPerMicroBatch', 'evaluateEvery', 'checkpointEvery'],
    ['learningRate', 'seed'],
  );
  problems.push(...scheduleProblems(config.schedule));
  if (!['sigmoid', 'ipo', 'robust'].includes(name))
    problems.push(`dpo.name sigmoid, ipo or robust, got ${name}`);
  if (!(beta > 0)) problems.push(`dpo.beta above 0, got ${beta}`);
  if (!(labelSmoothing >= 0 && labelSmoothing < 0.5))
    problems.push(`dpo.labelSmoothing in [0, 0.5), got ${labelSmoothing}`);
  refuse('trainDpo', problems);
}
