/**
 * Supervised fine-tuning: next-token cross-entropy on completions, on a `Learner`. With a teacher it is off-policy
 * distillation: the forward KL from the teacher's distributions instead, on the same rows.
 *
 * Each optimiser step takes whole examples up to a token budget, packed without padding, in one micro-batch or
 * several; the loss is the sum over supervised tokens divided by their number in the step. What an optimiser step
 * does, the balance of experts among it, is the learner's; DeepSeek-V3 lets the correction bias rest for the last
 * share of the steps (arXiv 2412.19437, section 4.2). A run killed at any moment and started again continues from its
 * last checkpoint to the same bytes.
 */
import type { Example } from '../batch.ts';
import { type ExampleSource, Packer } from '../example-source.ts';
import type { Learner, LossSpec, TrainingSequence } from '../interfaces.ts';
import { defaultLearner, type LocalLearnerOptions } from '../local-training.ts';
import { type Schedule, scheduleFactor, scheduleProblems } from '../schedule.ts';
import { microBatches } from './micro-batches.ts';
import {
  refuse,
  runStage,
  type StageConfig,
  type StageMetrics,
  type StageOptions,
  settingProblems,
} from './stage-run.ts';
import { type Teacher, withTeacher } from './teacher.ts';

/** Settings of the training. Plain data; the optimiser's are the learner's. */
export interface SftConfig extends StageConfig {
  /** Token rows of one optimiser step, at most. */
  readonly tokensPerStep: number;
  /** Token rows of one forward-backward pass, at most; what is smaller needs less memory. */
  readonly tokensPerMicroBatch: number;
  /** Peak learning rate. */
  readonly learningRate: number;
  readonly schedule: Schedule;
  /** Share of the steps after which the experts' correction bias rests. DeepSeek-V3 stops it for the last 3 %. */
  readonly biasUpdateUntil: number;
  readonly seed: number;
}

export const defaultSft: SftConfig = {
  steps: 1000,
  tokensPerStep: 4096,
  tokensPerMicroBatch: 8192,
  learningRate: 1e-3,
  schedule: { shape: 'cosine', warmupSteps: 50, finalFraction: 0.1, decayFraction: 0.2 },
  biasUpdateUntil: 0.97,
  checkpointEvery: 200,
  seed: 0,
};

/** A learner's settings for training from nothing: DeepSeek-V3's second beta and weight decay. */
export const defaultSftLearner: LocalLearnerOptions = { ...defaultLearner, beta2: 0.95, weightDecay: 0.1 };

/** One line of `metrics.jsonl`, the field's names. */
export interface SftMetrics extends StageMetrics {
  readonly mean_token_accuracy: number;
  readonly balance_loss: number;
  readonly grad_norm: number;
  /** Largest over the MoE layers, of this step. */
  readonly max_vio: number;
  /** Experts without a token in this step, over all layers. */
  readonly dead_experts: number;
  readonly learning_rate: number;
  /** Tokens an entry in this step, of a model that merges. */
  readonly compression?: number;
  /** What it aimed at. */
  readonly compression_aim?: number;
  /** Boundaries among the tokens that the router decided about, aimed at 1 / compression_aim. */
  readonly boundary_rate?: number;
  /** Without its weight; 1 where the aim is met. */
  readonly ratio_loss?: number;
  /** Mean over layers, without its weight, where indexers learn. */
  readonly indexer_loss?: number;
}

export interface SftOptions extends StageOptions<SftMetrics> {
  readonly learner: Learner;
  readonly source: ExampleSource;
  readonly config: SftConfig;
  /** Learn its distributions instead of the rows' tokens. */
  readonly teacher?: Teacher;
}

/**
 * Trains the learner's policy. Resolves with the last step's metrics; a complete run is only loaded.
 * Throws `invalid-config` when the folder's run had another configuration, `aborted` after the signal.
 *
 * @example
 * const learner = new LocalLearner(model, defaultSftLearner);
 * await trainSft({ learner, source, config: { ...defaultSft, steps: 200 }, folder: 'runs/first' });
 */
export async function trainSft(options: SftOptions): Promise<SftMetrics> {
  const { learner, config, source, teacher } = options;
  validate(config);
  const packer = new Packer(source, config.tokensPerStep);
  const spec: LossSpec = teacher
    ? { name: 'distillation', beta: 0, temperature: 1 }
    : { name: 'cross_entropy', outputs: 'sums' };
  return runStage<SftMetrics>({
    ...options,
    name: 'trainSft',
    async step(step, tokensBefore) {
      const sequences = packer.take().map(toSequence);
      const rows = sequences.reduce((n, { tokens }) => n + tokens.length, 0);
      const supervised = sequences.reduce((n, s) => n + s.tokens.length - s.completionStart, 0);
      const totals = { sequences: sequences.length, tokens: supervised };
      let loss = 0;
      const figures: Record<string, number> = {};
      for (const part of microBatches(sequences, ({ tokens }) => tokens.length, config.tokensPerMicroBatch)) {
        const result = await learner.forwardBackward(await withTeacher(part, teacher), spec, totals);
        loss += result.loss;
        for (const [name, value] of Object.entries(result.metrics))
          figures[name] = (figures[name] ?? 0) + value;
      }
      const rate = config.learningRate * scheduleFactor(config.schedule, step, config.steps);
      const updateBiases = step < config.biasUpdateUntil * config.steps;
      const { gradNorm, metrics } = await learner.optimStep({ learningRate: rate, updateBiases });
      return {
        global_step: step + 1,
        loss,
        mean_token_accuracy: (figures.correct_tokens ?? 0) / supervised,
        balance_loss: figures.balance_loss ?? 0,
        grad_norm: gradNorm,
        max_vio: metrics.max_vio ?? 0,
        dead_experts: metrics.dead_experts ?? 0,
        learning_rate: rate,
        ...mergingMetrics(figures, metrics),
        ...(figures.indexer_loss !== undefined && { indexer_loss: figures.indexer_loss }),
        num_tokens: tokensBefore + rows,
      };
    },
    show: ({ loss, mean_token_accuracy }) =>
      `loss ${loss.toFixed(4)}  accuracy ${mean_token_accuracy.toFixed(4)}`,
  });
}

/** What a learner's figures say about merging, where its model merges. */
function mergingMetrics(
  { merge_tokens, merge_entries, router_tokens, router_boundaries, ratio_loss }: Record<string, number>,
  { compression_aim }: Readonly<Record<string, number>>,
): Partial<SftMetrics> {
  if (merge_tokens === undefined || compression_aim === undefined) return {};
  return {
    compression: merge_tokens / (merge_entries as number),
    compression_aim,
    boundary_rate: (router_boundaries as number) / Math.max(router_tokens as number, 1),
    ...(ratio_loss !== undefined && { ratio_loss }),
  };
}

const toSequence = ({ ids, completionStart }: Example): TrainingSequence => ({
  tokens: [...ids],
  completionStart,
});

function validate(config: SftConfig): void {
  refuse('trainSft', [
    ...settingProblems(
      config,
      ['steps', 'tokensPerStep', 'tokensPerMicroBatch', 'checkpointEvery'],
      ['learningRate', 'biasUpdateUntil', 'seed'],
    ),
    ...scheduleProblems(config.schedule),
  ]);
}
