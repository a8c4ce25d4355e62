/**
 * On-policy distillation: the student samples, and learns the teacher's distribution on what it sampled
 * (https://arxiv.org/abs/2306.13649; reverse KL over the whole vocabulary).
 *
 * The student is corrected where it goes by itself, which imitation of the teacher's samples cannot do; that is
 * `trainSft`, with a teacher for its distributions. The teacher is asked one micro-batch at a time, so its
 * distributions are never in memory for the whole step. Synchronous: each step samples from the policy of now, by its
 * own seed; a killed run continues to the same bytes with a sampler that gives equal samples to equal seeds.
 */
import { Random } from '@minke/core';
import type { Learner, LossSpec, Sampler, TrainingSequence } from '../interfaces.ts';
import { type Schedule, scheduleFactor, scheduleProblems } from '../schedule.ts';
import { microBatches } from './micro-batches.ts';
import type { PromptSource, RlPrompt } from './prompt-source.ts';
import {
  refuse,
  runStage,
  type StageConfig,
  type StageMetrics,
  type StageOptions,
  settingProblems,
} from './stage-run.ts';
import { type Teacher, withTeacher } from './teacher.ts';

/** Settings of the training. Plain data. */
export interface DistillConfig extends StageConfig {
  readonly promptsPerStep: number;
  readonly samplesPerPrompt: number;
  /** Of a completion. */
  readonly maxNewTokens: number;
  /** Of the student's samples and of both distributions, above 0. */
  readonly temperature: number;
  /** 1 reverse KL, 0 forward KL, between them Jensen-Shannon. */
  readonly beta: number;
  /** Token rows of one forward-backward pass, at most. */
  readonly tokensPerMicroBatch: number;
  /** Peak learning rate. */
  readonly learningRate: number;
  readonly schedule: Schedule;
  readonly seed: number;
}

export const defaultDistill: DistillConfig = {
  steps: 200,
  promptsPerStep: 32,
  samplesPerPrompt: 1,
  maxNewTokens: 256,
  temperature: 1,
  beta: 1,
  tokensPerMicroBatch: 4096,
  learningRate: 3e-4,
  schedule: { shape: 'cosine', warmupSteps: 10, finalFraction: 0.1, decayFraction: 0.2 },
  checkpointEvery: 50,
  seed: 0,
};

/** One line of `metrics.jsonl`. `loss` is the mean divergence a token, in nats. */
export interface DistillMetrics extends StageMetrics {
  /** Of the student, a token. */
  readonly entropy: number;
  readonly 'completions/mean_length': number;
  /** Share of completions cut by the length limit. */
  readonly 'completions/clipped_ratio': number;
  readonly learning_rate: number;
  readonly grad_norm: number;
  readonly max_vio: number;
  readonly dead_experts: number;
}

export interface DistillOptions extends StageOptions<DistillMetrics> {
  /** Of the student's policy. */
  readonly sampler: Sampler;
  /** The student. */
  readonly learner: Learner;
  /** With the student's vocabulary. */
  readonly teacher: Teacher;
  readonly prompts: PromptSource;
  /** Ids that end a completion. */
  readonly stopTokenIds: readonly number[];
  readonly config: DistillConfig;
}

/**
 * Trains the learner's policy. Resolves with the last step's metrics; a complete run is only loaded.
 * Throws `invalid-config` for bad settings or another run's folder, `aborted` after the signal.
 *
 * @example
 * const student = await localPolicy(small);
 * const teacher = new LocalTeacher(large.model);
 * await distillOnPolicy({ ...student, teacher, prompts, config: defaultDistill, folder: 'runs/distill' });
 */
export async function distillOnPolicy(options: DistillOptions): Promise<DistillMetrics> {
  const { sampler, learner, teacher, prompts, config } = options;
  validate(options);
  const { temperature, beta, tokensPerMicroBatch } = config;
  const spec: LossSpec = { name: 'distillation', beta, temperature };
  return runStage<DistillMetrics>({
    ...options,
    name: 'distillOnPolicy',
    source: prompts,
    begin: async () => sampler.update(await learner.exportForSampler()),
    async step(step, tokensBefore) {
      const asked = Array.from({ length: config.promptsPerStep }, () => prompts.next());
      const { sequences, cut } = await sampled(asked, step, options);
      const lengths = sequences.map(({ tokens, completionStart }) => tokens.length - completionStart);
      const count = lengths.reduce((a, b) => a + b, 0);
      const totals = { sequences: sequences.length, tokens: count };
      let [loss, entropy] = [0, 0];
      for (const part of microBatches(sequences, ({ tokens }) => tokens.length, tokensPerMicroBatch)) {
        const result = await learner.forwardBackward(await withTeacher(part, teacher), spec, totals);
        loss += result.loss;
        for (const row of result.entropies) entropy += row.reduce((a, b) => a + b, 0);
      }
      const rate = config.learningRate * scheduleFactor(config.schedule, step, config.steps);
      const { gradNorm, metrics } = await learner.optimStep({ learningRate: rate });
      await sampler.update(await learner.exportForSampler());
      return {
        global_step: step + 1,
        loss,
        entropy: entropy / count,
        'completions/mean_length': count / sequences.length,
        'completions/clipped_ratio': cut / sequences.length,
        learning_rate: rate,
        grad_norm: gradNorm,
        num_tokens: tokensBefore + sequences.reduce((n, { tokens }) => n + tokens.length, 0),
        max_vio: metrics.max_vio ?? 0,
        dead_experts: metrics.dead_experts ?? 0,
      };
    },
    show: ({ loss, entropy }) => `KL ${loss.toFixed(4)}  entropy ${entropy.toFixed(3)}`,
  });
}

async function sampled(
  asked: readonly RlPrompt[],
  step: number,
  { sampler, config, stopTokenIds, signal }: DistillOptions,
): Promise<{ sequences: TrainingSequence[]; cut: number }> {
  const { samplesPerPrompt, maxNewTokens, temperature, seed } = config;
  const request = {
    prompts: asked.map(({ tokens }) => tokens),
    samplesPerPrompt,
    maxNewTokens,
    temperature,
    topP: 1,
    topK: 0,
    stopTokenIds,
    seed: new Random(seed, step).uint32(),
  };
  const samples = await sampler.sample(request, signal);
  const sequences = samples.map(({ prompt, tokens }) => {
    const before = asked[prompt]?.tokens as readonly number[];
    return { tokens: [...before, ...tokens], completionStart: before.length };
  });
  return { sequences, cut: samples.filter(({ finish }) => finish === 'length').length };
}

function validate({ config, stopTokenIds }: DistillOptions): void {
  const { temperature, beta } = config;
  const problems = settingProblems(
    config,
    ['steps', 'promptsPerStep', 'samplesPerPrompt', 'maxNewTokens', 'tokensPerMicroBatch', 'checkpointEvery'],
    ['learningRate', 'seed'],
  );
  problems.push(...scheduleProblems(config.schedule));
  if (!(temperature > 0 && Number.isFinite(temperature)))
    problems.push(`temperature above 0, got ${temperature}`);
  if (!(beta >= 0 && beta <= 1)) problems.push(`beta from 0 to 1, got ${beta}`);
  if (stopTokenIds.length === 0) problems.push('stopTokenIds with one id or more, got none');
  refuse('distillOnPolicy', problems);
}
