// What the study compares, as plain data: one model shape, and arms that differ from it in one thing each.
//
// Equal training FLOPs by the count of `@minke/cost-planner`: the budget is what the dearest arm needs for the setting's
// tokens, so that every arm sees at least as many, and a cheaper one more of them.

import { trainingFlopsPerToken } from '../../packages/cost-planner/dist/index.js';
import { interleavedPlan } from '../../packages/mla-attention/dist/hybrid/index.js';
import { deepseekV3Gate } from '../../packages/moe-router/dist/index.js';
import { copyBack } from '../../packages/tokenizer-merging/dist/merging/index.js';

/**
 * @typedef {object} Setting sizes of a study
 * @property {string} name
 * @property {number} tokens that every arm is trained on at least
 * @property {number} context tokens of a training example and of a window of the measurement
 * @property {number} taskContext most tokens of a reasoning task and its answer
 * @property {number} taskLength what they have on average, for counting FLOPs
 * @property {number} stride by which windows of the measurement move on
 * @property {number} vocabSize
 * @property {number} tokensPerStep
 * @property {number} trainingBytes of the corpus, at most
 * @property {number} testDocuments at most
 * @property {number} problems of each family of reasoning tasks
 * @property {object} shape what is in place of the model's own sizes
 * @property {number} window of local layers, and keys that an indexer selects
 */

/** @type {Record<string, Setting>} */
export const settings = {
  /** The study itself. */
  full: {
    name: 'full',
    tokens: 10_000_000,
    context: 1024,
    taskContext: 512,
    taskLength: 160,
    stride: 512,
    vocabSize: 4096,
    tokensPerStep: 8192,
    trainingBytes: Number.MAX_SAFE_INTEGER,
    testDocuments: Number.MAX_SAFE_INTEGER,
    problems: 200,
    shape: {},
    window: 128,
  },
  /** The same models on a hundredth of the tokens: does everything run and learn? */
  smoke: {
    name: 'smoke',
    tokens: 100_000,
    context: 1024,
    taskContext: 512,
    taskLength: 160,
    stride: 512,
    vocabSize: 4096,
    tokensPerStep: 1024,
    trainingBytes: 2_000_000,
    testDocuments: 8,
    problems: 4,
    shape: {},
    window: 128,
  },
  /** Seconds, for tests. */
  tiny: {
    name: 'tiny',
    tokens: 2_500,
    context: 48,
    taskContext: 512,
    taskLength: 160,
    stride: 24,
    vocabSize: 300,
    tokensPerStep: 500,
    trainingBytes: 40_000,
    testDocuments: 6,
    problems: 1,
    shape: {
      ...{ hiddenSize: 16, intermediateSize: 32, numLayers: 4, numHeads: 2, kvLoraRank: 8 },
      ...{ qkNopeHeadDim: 8, qkRopeHeadDim: 4, vHeadDim: 8, expertSize: 16, experts: 4 },
      ...{ indexer: { heads: 2, headDim: 8 }, layout: { preLayers: 1, postLayers: 1 } },
    },
    window: 12,
  },
};

/** The model: V3-shaped, about 2M active parameters with a vocabulary of 4,096. */
export function modelConfig(setting, vocabSize) {
  const { expertSize = 80, experts = 8, indexer: _indexer, layout: _layout, ...shape } = setting.shape;
  return {
    modelType: 'deepseek_v3',
    vocabSize,
    hiddenSize: 160,
    intermediateSize: 240,
    numLayers: 8,
    numHeads: 3,
    qLoraRank: null,
    kvLoraRank: 64,
    qkNopeHeadDim: 32,
    qkRopeHeadDim: 16,
    vHeadDim: 32,
    attentionBias: false,
    moe: { ...deepseekV3Gate, groups: 1, topGroups: 1, experts, topK: 2, expertSize },
    firstDenseLayers: 1,
    moeLayerFreq: 1,
    mtpLayers: 0,
    normEps: 1e-6,
    ropeTheta: 10_000,
    ropeLayout: 'interleaved',
    yarn: null,
    maxPositions: Math.max(setting.context, setting.taskContext),
    initStd: 0.04,
    tieEmbeddings: true,
    bosTokenId: 0,
    eosTokenIds: [1],
    padTokenId: 2,
    ...shape,
  };
}

/** Two layers before merging, four between, two behind. */
const layoutOf = ({ shape }) => shape.layout ?? { preLayers: 2, postLayers: 2 };

/** What every arm that merges has, unless its name says otherwise: a convolution, and a scale for each distance. */
const common = { convKernel: 4, offsets: true };

const merging = (tokensPerEntry, changes) => ({
  kind: 'merging',
  tokensPerEntry,
  merging: ({ shape, seed }) => ({
    ...{ ...layoutOf({ shape }), ...common },
    ...(changes.router && { tokensPerEntry }),
    ...(changes.router === 'random' && { seed }),
    ...changes,
  }),
});
/** Ours: entries of at most three tokens that begin where the next token is hard to foretell. */
const ours = (tokensPerEntry, changes = {}) =>
  merging(tokensPerEntry, { router: 'tokens', maxRun: 3, ...changes });
/** A paced router, which begins as the stride, at a learning rate of its own. */
const paced = (routerRate, changes = {}) => ({
  ...{ seeds: 1, routerRate },
  ...merging(2, { router: 'paced', ...changes }),
});
const attention = (configure) => ({ kind: 'attention', tokensPerEntry: 1, configure });

/**
 * @typedef {object} Arm
 * @property {string} name
 * @property {string} label for tables
 * @property {'text' | 'reasoning'} task
 * @property {number} seeds how many the study has
 * @property {'plain' | 'merging' | 'attention'} kind
 * @property {number} tokensPerEntry aimed at
 * @property {number} [routerRate] the learning rate of the router, as a share of that of all else
 */

/**
 * Arms on text. `plain` is also full attention; `plain-conv` is it with the convolution of the arms that merge, which
 * `-noconv` leave out. `learned` is H-Net's router, which knows nothing of a run's length; `paced` ones do.
 *
 * @type {readonly Arm[]}
 */
const textArms = [
  { name: 'plain', label: 'plain, full attention', seeds: 3, kind: 'plain', tokensPerEntry: 1 },
  {
    ...{ name: 'plain-conv', label: 'plain with a convolution', seeds: 3 },
    ...merging(1, { router: 'stride', threshold: 0 }),
  },
  { name: 'stride-2', label: 'fixed stride 2x', seeds: 3, ...merging(2, { router: 'stride' }) },
  { name: 'random-2', label: 'random boundaries 2x', seeds: 3, ...merging(2, { router: 'random' }) },
  { name: 'ours-2', label: 'ours 2x', seeds: 3, ...ours(2) },
  { name: 'ours-2-copy', label: 'ours 2x, copied back', seeds: 3, ...ours(2, copyBack) },
  { name: 'ours-1.5', label: 'ours 1.5x', seeds: 1, ...ours(1.5) },
  { name: 'ours-1.5-copy', label: 'ours 1.5x, copied back', seeds: 1, ...ours(1.5, copyBack) },
  { name: 'paced-2', label: 'paced router 2x', ...paced(0.1) },
  { name: 'paced-2-copy', label: 'paced router 2x, copied back', ...paced(0.1, copyBack) },
  { name: 'paced-2-fast', label: 'paced router 2x, at full rate', ...paced(1) },
  { name: 'learned-2', label: "H-Net's router 2x", seeds: 1, ...merging(2, {}) },
  {
    ...{ name: 'stride-2-noconv', label: 'fixed stride 2x, no convolution', seeds: 1 },
    ...merging(2, { router: 'stride', convKernel: 1 }),
  },
  {
    ...{ name: 'random-2-noconv', label: 'random boundaries 2x, no convolution', seeds: 1 },
    ...merging(2, { router: 'random', convKernel: 1 }),
  },
  {
    ...{ name: 'learned-2-noconv', label: "H-Net's router 2x, no convolution", seeds: 1 },
    ...merging(2, { convKernel: 1 }),
  },
  {
    ...{ name: 'hybrid-3-1', label: '3 local to 1 global', seeds: 3 },
    ...attention(({ numLayers }, { window }) => ({ layerPlan: interleavedPlan(numLayers, { window }) })),
  },
  {
    ...{ name: 'local', label: 'local only', seeds: 1 },
    ...attention(({ numLayers }, { window }) => ({
      layerPlan: { layerTypes: Array(numLayers).fill('local'), window },
    })),
  },
  {
    ...{ name: 'dynamic', label: 'dynamic hybrid', seeds: 1 },
    ...attention(({ numLayers }, { window }) => ({
      layerPlan: { layerTypes: Array(numLayers).fill('hybrid'), window },
    })),
  },
  {
    ...{ name: 'dsa', label: 'DSA', seeds: 1 },
    ...attention((_, { window, shape }) => ({
      indexer: { ...(shape.indexer ?? { heads: 4, headDim: 32 }), topK: window },
    })),
  },
];

/** Every arm, in the order in which a study should run them. @type {readonly Arm[]} */
export const arms = [
  ...textArms.map((arm) => ({ ...arm, task: 'text' })),
  ...textArms
    .filter(({ name }) => ['plain', 'random-2', 'ours-2'].includes(name))
    .map((arm) => ({
      ...{ ...arm, name: `tasks-${arm.name}`, label: `${arm.label} (tasks)` },
      ...{ task: 'reasoning', seeds: 1 },
    })),
];

/** The config of an arm's model. */
export function armConfig(arm, setting, vocabSize) {
  const config = modelConfig(setting, vocabSize);
  return arm.configure ? { ...config, ...arm.configure(config, setting) } : config;
}

/** The settings of merging of an arm, or null; without the tokens at which entries begin, which the data tell. */
export function armMerging(arm, setting, seed) {
  return arm.merging ? arm.merging({ shape: setting.shape, seed }) : null;
}

/** Share of the steps in which an arm that is not paced comes to its compression from little of it. */
const curriculum = 0.3;
const firstCompression = 1.2;

/**
 * How a router that learns is steered over so many steps. One that is paced begins at its aim; its weight holds it there
 * where a tenth let it go to 2.2 tokens an entry of 2. The other's is one that met its aim in `rl-trainer`'s tests.
 */
export function compressionOf(arm, setting, steps) {
  const target = arm.tokensPerEntry;
  const paced = armMerging(arm, setting, 0)?.router === 'paced';
  const start = paced ? target : Math.min(firstCompression, target);
  const { routerRate } = arm;
  return {
    ...{ ratioWeight: paced ? 3 : 0.3, start, target, warmupSteps: Math.round(curriculum * steps) },
    ...(routerRate !== undefined && { routerRate }),
  };
}

/** FLOPs of a training token of an arm at a compression. */
export function flopsPerToken(arm, setting, vocabSize, tokensPerEntry = arm.tokensPerEntry) {
  const own = armMerging(arm, setting, 0);
  return trainingFlopsPerToken(
    armConfig(arm, setting, vocabSize),
    arm.task === 'text' ? setting.context : setting.taskLength,
    own ? { merging: own, tokensPerEntry } : undefined,
  );
}

/** The mean of `flopsPerToken` over a run: a learned router begins with little compression. */
export function plannedFlopsPerToken(arm, setting, vocabSize) {
  const key = JSON.stringify([arm.name, setting, vocabSize]);
  const known = planned.get(key) ?? meanFlops(arm, setting, vocabSize);
  planned.set(key, known);
  return known;
}

const planned = new Map();

function meanFlops(arm, setting, vocabSize) {
  if (armMerging(arm, setting, 0)?.router !== undefined || arm.merging === undefined)
    return flopsPerToken(arm, setting, vocabSize);
  const { start, target } = compressionOf(arm, setting, 1);
  const parts = 20;
  const way = Array.from({ length: parts }, (_, i) => start + ((target - start) * (i + 0.5)) / parts);
  const onTheWay = way.map((compression) => flopsPerToken(arm, setting, vocabSize, compression));
  const first = onTheWay.reduce((a, b) => a + b) / parts;
  return curriculum * first + (1 - curriculum) * flopsPerToken(arm, setting, vocabSize);
}

/** The tokens of an arm's run, and the budget that makes them so many. */
export function planArm(arm, setting, vocabSize) {
  const per = (other) => plannedFlopsPerToken(other, setting, vocabSize);
  const budget = setting.tokens * Math.max(...arms.filter(({ task }) => task === arm.task).map(per));
  return { budget, flopsPerToken: per(arm), tokens: Math.ceil(budget / per(arm)) };
}
