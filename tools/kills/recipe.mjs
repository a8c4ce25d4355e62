// The whole recipe at a size of seconds, with checkpoints every few steps: what `run.mjs` kills. Every stage and every
// kind of state is in it: moments, a reference that is refreshed, groups and mini-batches, rows of rejection sampling,
// two reward models, a student. All problems are of one family whose thoughts, factors of small numbers, are right
// without the question and whose answers are few, and the base mixture is clean: so short a training then leaves samples
// that are right, which the cold start needs. One thread, as models so small only wait for a second one.
//
//   minke train recipe --stages tools/kills/recipe.mjs --out <folder>

import { recipeSettings, recipeStages } from '../../apps/r1-recipe/dist/index.js';
import { auto } from '../../packages/gpu-backends/dist/index.js';

const supervised = (steps, checkpointEvery) => ({
  ...{
    steps,
    tokensPerStep: 2048,
    learningRate: 1e-2,
    warmupSteps: 5,
  },
  checkpointEvery,
});

function reinforcement({ config }, steps) {
  const small = { groupSize: 4, promptsPerStep: 4, maxCompletionLength: 64, referenceEvery: 5 };
  return { config: { ...config, ...small, minibatches: 2 }, steps, checkpointEvery: 4 };
}

const { ci } = recipeSettings;
const measure = {
  ...ci.measure,
  arithmetic: 8,
  search: 4,
  parity: 4,
  beyond: 2,
  general: 4,
  sampledProblems: 4,
};
const easy = { weight: 1, levels: { 1: 1 } };
const clean = {
  codeSwitching: 0,
  foreign: 0,
  slip: 0,
  falseVerdict: 0,
  repeat: 0,
  drop: 0,
  giveUp: 0,
  tries: 0,
};

export const settings = {
  ...ci,
  measure: { ...measure, samples: 2, maxNewTokens: 64 },
  measureWidely: { ...measure, samples: 4, temperature: 1, topP: 1, maxNewTokens: 64 },
  mixture: {
    shares: { direct: 0, thought: 0.97, general: 0.03 },
    habits: { ...ci.mixture.habits, ...clean },
    goodReplies: 0.5,
    problems: {
      reasoning: { count_primes: easy },
      ...{ general: {}, generalShare: 0, spanish: 0 },
    },
  },
  base: supervised(160, 20),
  zero: reinforcement(ci.zero, 16),
  coldStart: {
    traces: { prompts: 40, samples: 8, keep: 8, promptsPerBatch: 8 },
    rows: 200,
    fit: supervised(20, 4),
  },
  grpo1: reinforcement(ci.grpo1, 16),
  selfEvolution: reinforcement(ci.selfEvolution, 16),
  rejection: { ...ci.rejection, prompts: 40, general: 64, promptsPerBatch: 8 },
  sft2: supervised(20, 4),
  rewardModel: { ...ci.rewardModel, pairs: 64, labelled: 64, heldOut: 32, steps: 10, checkpointEvery: 2 },
  grpo2: { ...ci.grpo2, ...reinforcement(ci.grpo2, 16), modelRewardSteps: 8 },
  distill: supervised(20, 4),
  studentBase: supervised(30, 5),
  studentRl: reinforcement(ci.studentRl, 16),
};

export default async () => recipeStages(settings, { backend: await auto({ threads: 1 }), controls: false });
