/**
 * How big each stage is, as plain data, for the three presets: `full` (every stage, within 2.5 hours on two cores),
 * `demo` (the same base, less of all that follows), `ci` (within minutes; shows directions only).
 *
 * Rates and sizes are for a model of a million parameters from scratch; the algorithm is that of the published presets
 * of `@minke/rl-trainer`, whose rates are for billions.
 */
import { presets, type RlConfig, type Schedule } from '@minke/rl-trainer';
import { type BaseMixture, baseMixture } from '../data/index.ts';
import type { MeasureSettings } from './measure.ts';
import type { ModelShape } from './model-shapes.ts';

/** Supervised training. */
export interface FitSettings {
  readonly steps: number;
  readonly tokensPerStep: number;
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** Muon reaches a loss in a quarter to a half of the steps that AdamW takes (docs/log.md). */
  readonly optimizer: 'adamw' | 'muon';
  /** Steps between checkpoints. Default 200. */
  readonly checkpointEvery?: number;
}

/** Reinforcement learning: a configuration, and how long. */
export interface RlSettings {
  readonly config: RlConfig;
  readonly steps: number;
  /** Steps between checkpoints. Default 25. */
  readonly checkpointEvery?: number;
}

/** Rejection sampling: problems, samples of each, and how many of these stay. */
export interface SamplingSettings {
  readonly prompts: number;
  readonly samples: number;
  readonly keep: number;
  /** Problems sampled between two checkpoints. Default 128. */
  readonly promptsPerBatch?: number;
}

export interface RecipeSettings {
  /** Shapes of the two models. */
  readonly policy: ModelShape;
  readonly student: ModelShape;
  readonly measure: MeasureSettings;
  /** As `measure`, with the samples that curves of pass@k need; for the base and the final model. */
  readonly measureWidely: MeasureSettings;
  /** What the base models learn from. */
  readonly mixture: BaseMixture;
  readonly base: FitSettings;
  readonly zero: RlSettings;
  readonly coldStart: { readonly traces: SamplingSettings; readonly rows: number; readonly fit: FitSettings };
  readonly grpo1: RlSettings;
  readonly selfEvolution: RlSettings;
  readonly rejection: SamplingSettings & {
    /** Rows of chat beside what was sampled. */
    readonly general: number;
    /** Share of good replies in them: what people write is not all good, which leaves something to reinforce. */
    readonly goodReplies: number;
  };
  readonly sft2: FitSettings;
  readonly rewardModel: {
    readonly pairs: number;
    readonly labelled: number;
    readonly heldOut: number;
    readonly steps: number;
    readonly learningRate: number;
    /** Steps between checkpoints. Default 100. */
    readonly checkpointEvery?: number;
  };
  readonly grpo2: RlSettings & {
    /** Share of general requests among the prompts. */
    readonly generalShare: number;
    /** Last steps in which reward models take part (R1: 400 of 1,700). */
    readonly modelRewardSteps: number;
    /** Steps of the deliberate over-optimisation. */
    readonly overSteps: number;
  };
  readonly distill: FitSettings;
  readonly studentBase: FitSettings;
  readonly studentRl: RlSettings;
  /** The student by GRPO at the FLOPs of distillation: each rate with each KL weight. A control. */
  readonly studentSweep: {
    readonly learningRates: readonly number[];
    readonly betas: readonly number[];
    /** Problems that choose among the settings. */
    readonly validation: number;
  };
}

/** A name of a size. */
export type RecipePreset = 'full' | 'demo' | 'ci';

const decay = (warmupSteps: number): Schedule => ({
  shape: 'linear',
  warmupSteps,
  finalFraction: 0.05,
  decayFraction: 0,
});

/** R1's algorithm at this size: token-level clipping, k3 to a reference, AdamW with a decaying rate. */
const rl = (overrides: Partial<RlConfig> & { readonly beta?: number }): RlConfig => {
  const { beta = 0.02, ...rest } = overrides;
  const base = presets['r1-zero'];
  return {
    ...base,
    objective: {
      ...base.objective,
      loss: { name: 'clip', ratio: 'token', epsilonLow: 0.2, epsilonHigh: 0.28 },
      aggregation: 'dapo',
      beta,
    },
    groupSize: 16,
    promptsPerStep: 16,
    minibatches: 2,
    learningRate: 1.5e-4,
    schedule: decay(20),
    maxCompletionLength: 256,
    referenceEvery: 200,
    tokensPerMicroBatch: 8192,
    ...rest,
  };
};

const measure: MeasureSettings = {
  arithmetic: 1200,
  search: 500,
  parity: 300,
  beyond: 150,
  general: 1000,
  sampledProblems: 500,
  samples: 8,
  temperature: 0.6,
  topP: 0.95,
  maxNewTokens: 300,
};

const full: RecipeSettings = {
  policy: 'policy',
  student: 'student',
  measure,
  mixture: baseMixture,
  measureWidely: { ...measure, sampledProblems: 100, samples: 256, temperature: 1, topP: 1 },
  // Twice as many steps of half the size learn what half the steps leave to chance (docs/log.md).
  base: {
    steps: 9000,
    tokensPerStep: 2048,
    learningRate: 3e-3,
    warmupSteps: 200,
    optimizer: 'muon',
    checkpointEvery: 400,
  },
  zero: { steps: 400, config: rl({}) },
  coldStart: {
    traces: { prompts: 6000, samples: 2, keep: 1 },
    // Twice over each at most: a policy that is sure of its traces explores nothing.
    rows: 2000,
    fit: { steps: 60, tokensPerStep: 4096, learningRate: 5e-4, warmupSteps: 6, optimizer: 'adamw' },
  },
  grpo1: { steps: 400, config: rl({ maxRefills: 1 }) },
  selfEvolution: { steps: 500, config: rl({ beta: 0.04, maxCompletionLength: 300 }) },
  rejection: { prompts: 20_000, samples: 4, keep: 1, general: 3000, goodReplies: 0.6 },
  sft2: { steps: 1400, tokensPerStep: 4096, learningRate: 1.5e-3, warmupSteps: 30, optimizer: 'muon' },
  rewardModel: { pairs: 6600, labelled: 6000, heldOut: 1000, steps: 200, learningRate: 5e-4 },
  grpo2: {
    steps: 500,
    // The reward models come last, so the rate must not have vanished by then.
    config: rl({ temperature: 0.7, learningRate: 1e-4, schedule: { ...decay(20), finalFraction: 0.5 } }),
    generalShare: 0.4,
    modelRewardSteps: 150,
    overSteps: 400,
  },
  distill: { steps: 900, tokensPerStep: 4096, learningRate: 3e-3, warmupSteps: 30, optimizer: 'muon' },
  studentBase: { steps: 2400, tokensPerStep: 4096, learningRate: 3e-3, warmupSteps: 100, optimizer: 'muon' },
  studentRl: { steps: 400, config: rl({}) },
  studentSweep: { learningRates: [1e-4, 3e-4, 1e-3], betas: [0, 0.02], validation: 500 },
};

/** `full` with all counts of steps, prompts and problems scaled down. */
function scaled(settings: RecipeSettings, by: number, least: MeasureSettings): RecipeSettings {
  const n = (count: number, floor = 1) => Math.max(floor, Math.round(count * by));
  const fit = (s: FitSettings): FitSettings => ({
    ...s,
    steps: n(s.steps, 10),
    warmupSteps: n(s.warmupSteps, 3),
  });
  const run = <T extends RlSettings>(s: T): T => {
    const steps = n(s.steps, 4);
    const warmupSteps = Math.min(s.config.schedule.warmupSteps, Math.floor(steps / 4));
    return { ...s, steps, config: { ...s.config, schedule: { ...s.config.schedule, warmupSteps } } };
  };
  const draw = <T extends SamplingSettings>(s: T): T => ({ ...s, prompts: n(s.prompts, 64) });
  return {
    policy: settings.policy,
    student: settings.student,
    mixture: settings.mixture,
    measure: least,
    measureWidely: {
      ...least,
      sampledProblems: Math.min(100, least.sampledProblems),
      samples: 16,
      temperature: 1,
      topP: 1,
    },
    base: fit(settings.base),
    zero: run(settings.zero),
    coldStart: {
      traces: draw(settings.coldStart.traces),
      rows: n(settings.coldStart.rows, 32),
      fit: fit(settings.coldStart.fit),
    },
    grpo1: run(settings.grpo1),
    selfEvolution: run(settings.selfEvolution),
    rejection: { ...draw(settings.rejection), general: n(settings.rejection.general, 64) },
    sft2: fit(settings.sft2),
    rewardModel: {
      ...settings.rewardModel,
      pairs: n(settings.rewardModel.pairs, 128),
      labelled: n(settings.rewardModel.labelled, 128),
      heldOut: n(settings.rewardModel.heldOut, 64),
      steps: n(settings.rewardModel.steps, 10),
    },
    grpo2: {
      ...run(settings.grpo2),
      modelRewardSteps: n(settings.grpo2.modelRewardSteps, 2),
      overSteps: n(settings.grpo2.overSteps, 4),
    },
    distill: fit(settings.distill),
    studentBase: fit(settings.studentBase),
    studentRl: run(settings.studentRl),
    studentSweep: { ...settings.studentSweep, validation: n(settings.studentSweep.validation, 40) },
  };
}

const fewer = (by: number): MeasureSettings => ({
  ...measure,
  arithmetic: Math.round(1200 * by),
  search: Math.round(500 * by),
  parity: Math.round(300 * by),
  beyond: Math.round(150 * by),
  general: Math.round(300 * by),
  sampledProblems: Math.round(500 * by),
});

/** The sizes by name. */
export const recipeSettings: Readonly<Record<RecipePreset, RecipeSettings>> = {
  full,
  demo: {
    ...scaled(full, 0.6, measure),
    // Fewer steps leave some seeds without letter counting (docs/log.md).
    base: full.base,
  },
  ci: {
    ...scaled(full, 0.03, { ...fewer(0.05), samples: 2 }),
    policy: 'student',
    // More thoughts, so that a minute of base training leaves something to curate.
    mixture: { ...baseMixture, shares: { direct: 0.3, thought: 0.6, general: 0.1 } },
    base: { ...full.base, steps: 850, tokensPerStep: 4096, warmupSteps: 100 },
    coldStart: {
      traces: { prompts: 256, samples: 4, keep: 4 },
      rows: 200,
      fit: { ...full.coldStart.fit, steps: 20 },
    },
    rejection: { prompts: 256, samples: 4, keep: 4, general: 200, goodReplies: 0.6 },
  },
};
