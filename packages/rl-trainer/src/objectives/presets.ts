/**
 * Published settings of reinforcement learning under their names.
 *
 * They are at the scale of their papers; a small model takes the algorithm and brings its own sizes and rates:
 * `{ ...presets['r1-zero'], groupSize: 8, promptsPerStep: 16, learningRate: 1e-4, maxCompletionLength: 256 }`.
 * Where a paper leaves a value open, the comment says so.
 *
 * R1: DeepSeek-R1, Nature 645, 633-638 and https://arxiv.org/abs/2501.12948v2. DAPO: https://arxiv.org/abs/2503.14476.
 * Dr. GRPO: https://arxiv.org/abs/2503.20783. GSPO: https://arxiv.org/abs/2507.18071. CISPO:
 * https://arxiv.org/abs/2506.13585 and ScaleRL, https://arxiv.org/abs/2510.13786. RLOO: https://arxiv.org/abs/2402.14740
 * and TRL's RLOO trainer. PPO: the settings of TinyZero.
 *
 * Read at the source: Dr. GRPO's sizes and rate (sail-sg/understand-r1-zero, README and examples/*.sh), PPO's
 * (Jiayi-Pan/TinyZero, scripts/train_tiny_zero.sh and verl's ppo_trainer.yaml there), TRL's defaults. Read in TRL's
 * paper index, which quotes the papers: R1's KL, clip ratio, group, length, 512 samples a step and 16 mini-batches;
 * DAPO's clip ratios, group, lengths and absence of KL; GSPO's clip ratios and 4 mini-batches; ScaleRL's bound; RLOO's
 * rate, KL, group and 512 samples. DAPO's 512 and 32 prompts and 10 refills: copies of verl's recipe. Not checked
 * against a source, but from memory of the papers: R1's rate, reference interval and temperatures; DAPO's rate and
 * warm-up; the section numbers of R1, Dr. GRPO and CISPO and those of DAPO's chapter 3; RLOO's lengths.
 */
import { constantAfter } from '../schedule.ts';
import type { PolicyObjective } from './policy-objective.ts';
import type { RlConfig } from './rl-config.ts';

const objective: PolicyObjective = {
  loss: { name: 'clip', ratio: 'token', epsilonLow: 0.2, epsilonHigh: 0.2 }, // PPO, section 6.1
  aggregation: 'grpo',
  beta: 0,
  klEstimator: 'k3', // DeepSeekMath, equation 4
  klRatioCorrection: false,
  correction: null, // our own sampler has the trainer's log-probabilities
  offPolicyThreshold: null,
  entropyCoefficient: 0,
};

const r1Zero: RlConfig = {
  objective: {
    ...objective, // the clip ratio of R1-Zero is not published
    beta: 0.001, // R1, methods
  },
  advantage: { name: 'grpo', scale: 'group', epsilon: 1e-4 }, // R1, equation 3; epsilon: TRL
  rewardAggregation: 'sum_then_normalize', // accuracy + format, same weight: R1, section 2.2
  rewardBeta: 0,
  groupSize: 16, // R1, methods
  promptsPerStep: 32, // R1, methods: 512 samples a step
  minibatches: 16, // R1, methods: 8,192 samples a rollout
  innerEpochs: 1, // R1, methods
  temperature: 1, // R1, methods
  maxCompletionLength: 32_768, // R1, methods; 65,536 after step 8,200
  learningRate: 3e-6, // R1, methods
  schedule: constantAfter(10), // not published
  maxGradNorm: 1, // not published
  referenceEvery: 400, // R1, methods
  maxRefills: 0,
  overlongTokens: 0,
  tokensPerMicroBatch: 8192, // ours; it changes memory and rounding only
  maskTruncated: false,
  critic: null,
};

/** The first RL stage of R1, after the cold start. A clip ratio of 10 hardly ever acts; it is what the paper says. */
const r1Stage1: RlConfig = {
  ...r1Zero,
  objective: {
    ...r1Zero.objective,
    loss: { name: 'clip', ratio: 'token', epsilonLow: 10, epsilonHigh: 10 }, // R1, methods
  },
};

const dapo: RlConfig = {
  ...r1Zero,
  objective: {
    ...objective, // no KL: DAPO, section 2.3
    loss: { name: 'clip', ratio: 'token', epsilonLow: 0.2, epsilonHigh: 0.28 }, // DAPO, section 4.1
    aggregation: 'dapo', // DAPO, section 3.3
  },
  promptsPerStep: 32, // DAPO, section 4.1: 512 prompts a rollout in 16 updates
  maxCompletionLength: 20_480, // DAPO, section 4.1: 16,384 + 4,096
  overlongTokens: 4096, // DAPO, section 4.1
  learningRate: 1e-6, // DAPO, section 4.1
  schedule: constantAfter(320), // DAPO, section 4.1: 20 rollouts
  referenceEvery: 0,
  maxRefills: 10, // dynamic sampling: DAPO, section 3.2; the bound: verl's recipe
};

const drGrpo: RlConfig = {
  ...r1Zero,
  objective: { ...objective, aggregation: 'dr_grpo' }, // Dr. GRPO, section 3.2; no KL
  advantage: { name: 'grpo', scale: 'none', epsilon: 1e-4 }, // Dr. GRPO, section 3.2
  groupSize: 8, // its repository
  promptsPerStep: 16, // its repository: 128 samples an update
  minibatches: 8, // its repository: 1,024 samples a rollout
  maxCompletionLength: 3000, // its repository
  learningRate: 1e-6, // its repository
  schedule: constantAfter(0), // constant rate: its repository
  referenceEvery: 0,
};

const gspo: RlConfig = {
  ...r1Zero, // sizes and rate are not published
  objective: {
    ...objective, // no KL: not in the paper; its author in volcengine/verl pull request 2775, after TRL
    loss: { name: 'clip', ratio: 'sequence', epsilonLow: 3e-4, epsilonHigh: 4e-4 }, // GSPO, section 5.1
  },
  minibatches: 4, // GSPO, section 5.1
  referenceEvery: 0,
};

const cispo: RlConfig = {
  ...dapo, // no KL, dynamic sampling and length penalty: CISPO, section 3.1
  objective: {
    ...objective,
    loss: { name: 'cispo', ratio: 'token', ratioMax: 5 }, // ScaleRL, after TRL, where rewards are also scaled over the batch
    aggregation: 'dapo', // CISPO, section 3.1
  },
};

const rloo: RlConfig = {
  ...r1Zero,
  objective: {
    ...objective,
    loss: { name: 'clip', ratio: 'sequence-product', epsilonLow: 0.2, epsilonHigh: 0.2 }, // TRL
  },
  advantage: { name: 'rloo', normalize: false, epsilon: 1e-4 },
  rewardBeta: 0.05, // TRL's default; the paper has 0.03 (appendix C, after TRL)
  groupSize: 4, // RLOO, section 4: 2 and 4
  promptsPerStep: 64, // RLOO, appendix C: batches of 512 samples, here read as the rollout
  minibatches: 2, // RLOO, appendix C, after TRL
  maxCompletionLength: 1024, // ours; the paper's are far shorter
  learningRate: 1e-6, // RLOO, appendix C
  referenceEvery: 0,
};

const ppo: RlConfig = {
  ...r1Zero,
  objective: { ...objective, aggregation: 'dapo' }, // mean over tokens: verl
  advantage: { name: 'gae', gamma: 1, lambda: 1 }, // TinyZero
  rewardBeta: 0.001, // TinyZero
  groupSize: 1, // TinyZero
  promptsPerStep: 64, // TinyZero: ppo_mini_batch_size
  minibatches: 4, // TinyZero: 256 samples a rollout
  maxCompletionLength: 1024, // TinyZero
  learningRate: 1e-6, // TinyZero
  schedule: constantAfter(0), // TinyZero
  referenceEvery: 0,
  critic: {
    learningRate: 1e-5, // TinyZero
    epsilon: 0.5, // TinyZero: cliprange_value
    warmupSteps: 0, // TinyZero: critic_warmup
  },
};

/** Published settings by name. */
export const presets = {
  'r1-zero': r1Zero,
  'r1-stage1': r1Stage1,
  /** The second RL stage of R1: as the first, at temperature 0.7 (R1, methods). */
  'r1-stage2': { ...r1Stage1, temperature: 0.7 },
  dapo,
  'dr-grpo': drGrpo,
  gspo,
  cispo,
  rloo,
  ppo,
} as const satisfies Readonly<Record<string, RlConfig>>;

export type PresetName = keyof typeof presets;
