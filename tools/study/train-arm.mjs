// One run of the study: an arm and a seed, trained, measured, and written down. A run that was stopped goes on from its
// last checkpoint; one that is complete is only read.

import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { countParameters } from '../../packages/cost-planner/dist/index.js';
import { bitsPerByte, evaluate, modelScorer } from '../../packages/evaluation/dist/index.js';
import {
  defaultSft,
  defaultSftLearner,
  LocalLearner,
  trainSft,
} from '../../packages/rl-trainer/dist/index.js';
import { Arena } from '../../packages/tensor/dist/index.js';
import { deepseekTokens, encodeChat } from '../../packages/tokenizer-merging/dist/chat/index.js';
import {
  attentionCacheBytes,
  DeepSeekModel,
  MergingTransformer,
  mergingStateBytes,
} from '../../packages/transformer/dist/index.js';
import { armConfig, armMerging, arms, compressionOf, flopsPerToken, planArm } from './arms.mjs';
import { boundaryTokens, stepsFor } from './data.mjs';
import { greedy } from './greedy.mjs';

/** How every arm is trained. */
const training = { learningRate: 3e-3, warmupShare: 0.05, checkpoints: 10 };

/** Steps whose median tells how fast a machine is. */
const stepsOfPlain = 9;

/**
 * @param {object} run
 * @param {import('./arms.mjs').Arm} run.arm
 * @param {import('./arms.mjs').Setting} run.setting
 * @param {number} run.seed
 * @param {object} run.data of `textData` or `taskData`
 * @param {import('../../packages/core/dist/index.js').Backend} run.backend
 * @param {string} run.folder of this run
 * @param {string} run.result file to write
 * @param {string} run.commit of the code, for the record
 * @param {(line: string) => void} run.say
 * @param {number} [run.stopAfter] steps after which to stop, for trials
 * @param {AbortSignal} [run.signal] ends the run after the step, with a checkpoint
 */
export async function trainArm({ arm, setting, seed, data, backend, folder, result, commit, say, ...how }) {
  if (existsSync(result)) {
    say(`${arm.name} seed ${seed}: complete, in ${result}`);
    return JSON.parse(readFileSync(result, 'utf8'));
  }
  mkdirSync(folder, { recursive: true });
  const { vocabSize } = data.tokenizer;
  // Before the run and after it: other work slows either down, and the run itself is a median of many more steps.
  const plainStep = () => plainStepSeconds({ task: arm.task, setting, data, backend });
  const plainStepBefore = await plainStep();
  const begun = begin({ arm, setting, seed, data, backend });
  const { plan, steps, config, merging, weights, model, learnerSettings, learner, sft } = begun;
  const { active, activeWithoutEmbedding, total } = countParameters(config);
  say(
    `${arm.name} seed ${seed}: ${steps} steps, ${(plan.tokens / 1e6).toFixed(2)}M tokens, ` +
      `${(plan.flopsPerToken / 1e6).toFixed(1)} MFLOP a token, ${(active / 1e6).toFixed(2)}M active parameters`,
  );
  const clock = clockOf(join(folder, 'clock.jsonl'));
  const stop = new AbortController();
  how.signal?.addEventListener('abort', () => stop.abort(), { once: true });
  const every = Math.max(1, Math.round(steps / 100));
  await trainSft({
    ...{ learner, source: data.source(seed), config: sft, folder, signal: stop.signal },
    onStep(metrics) {
      const seconds = clock.tick(metrics.global_step);
      const { global_step: step, loss, compression } = metrics;
      if (step % every === 0 || step === 1)
        say(
          `${arm.name} seed ${seed} step ${step}/${steps} loss ${loss.toFixed(4)}` +
            `${compression ? ` ${compression.toFixed(2)} tokens an entry` : ''} ${seconds.toFixed(2)} s`,
        );
      if (step === how.stopAfter) stop.abort();
    },
  });
  await learner.dispose();
  const log = readLog(folder);
  const measured = await measure({ arm, setting, model, data });
  const entry = { tokens: 0, flops: 0 };
  let before = 0;
  for (const { num_tokens, compression } of log) {
    entry.flops += (num_tokens - before) * flopsPerToken(arm, setting, vocabSize, compression ?? 1);
    before = num_tokens;
  }
  const last = log.slice(-Math.ceil(log.length / 10));
  const record = {
    ...{ arm: arm.name, label: arm.label, task: arm.task, setting: setting.name, seed },
    ...measured,
    training: {
      ...{ steps, tokens: before, flops: entry.flops, plannedFlops: plan.budget, seconds: clock.seconds() },
      loss: mean(last.map(({ loss }) => loss)),
      compression: mean(last.map(({ compression = 1 }) => compression)),
      curve: curveOf(log),
    },
    cacheBytesPerToken: cacheBytes(
      config,
      merging,
      arm.task === 'text' ? setting.context : setting.taskContext,
      measured.compression,
    ),
    parameters: { active, activeWithoutEmbedding, total },
    settings: {
      config,
      merging,
      learner: learnerSettings,
      sft,
      context: setting.context,
      stride: setting.stride,
    },
    data: data.manifest,
    machine: {
      cpu: cpus()[0]?.model,
      cores: cpus().length,
      backend: backend.info.name,
      node: process.version,
      plainStepSeconds: Math.min(plainStepBefore, await plainStep()),
    },
    commit,
  };
  mkdirSync(dirname(result), { recursive: true });
  writeFileSync(`${result}.tmp`, `${JSON.stringify(record, null, 1)}\n`);
  renameSync(`${result}.tmp`, result);
  weights.dispose();
  say(`${arm.name} seed ${seed}: ${summary(record)}`);
  return record;
}

/** The model of an arm with what trains it. */
function begin({ arm, setting, seed, data, backend }) {
  const { vocabSize } = data.tokenizer;
  const plan = planArm(arm, setting, vocabSize);
  const steps = stepsFor(data.source(seed), plan.tokens, setting.tokensPerStep);
  const config = armConfig(arm, setting, vocabSize);
  const merging = mergingOf({ arm, setting, seed, data });
  const weights = new Arena(backend, { persistent: true, label: 'model' });
  const model = modelOf(config, merging, seed, weights);
  const learnerSettings = {
    ...{ ...defaultSftLearner, optimizer: 'muon' },
    ...(learnsBoundaries(merging) && { compression: compressionOf(arm, setting, steps) }),
    ...(config.indexer && { indexer: { weight: 1, warmupSteps: Math.round(0.1 * steps) } }),
  };
  const sft = {
    ...defaultSft,
    ...{ steps, seed, tokensPerStep: setting.tokensPerStep, learningRate: training.learningRate },
    // Training of sparse attention holds all pairs of a batch: one sequence at a time.
    tokensPerMicroBatch: config.indexer ? setting.context : setting.tokensPerStep,
    schedule: { ...defaultSft.schedule, warmupSteps: Math.round(training.warmupShare * steps) },
    checkpointEvery: Math.max(1, Math.ceil(steps / training.checkpoints)),
  };
  const learner = new LocalLearner(model, learnerSettings);
  return { plan, steps, config, merging, weights, model, learnerSettings, learner, sft };
}

/** The model of a run that is complete, as its last checkpoint has it; `run` as `trainArm` takes it. */
export async function trainedModel({ folder, ...run }) {
  const { learner, sft, steps, model } = begin(run);
  const done = existsSync(join(folder, 'metrics.jsonl')) ? readLog(folder).at(-1).global_step : 0;
  if (done !== steps) throw new Error(`expected a complete run of ${steps} steps in ${folder}, got ${done}`);
  await trainSft({ learner, source: run.data.source(run.seed), config: sft, folder });
  await learner.dispose();
  return model;
}

/** The settings of merging of an arm, or null. A router of tokens knows half as many as arms are trained on at least. */
function mergingOf({ arm, setting, seed, data }) {
  const merging = armMerging(arm, setting, seed);
  if (merging?.router !== 'tokens') return merging;
  const { tokensPerEntry, maxRun } = merging;
  const options = { vocabSize: data.tokenizer.vocabSize, tokensPerEntry, maxRun };
  return { ...merging, boundaryTokens: boundaryTokens(data.source(0), setting.tokens / 2, options) };
}

/** Whether a router of an arm learns: by default, or paced. */
const learnsBoundaries = (merging) => merging !== null && (merging.router ?? 'paced') === 'paced';

/** Seconds of a step of the plain model on the task of `data`, here and now: runs on other machines compare by it. */
export async function plainStepSeconds({ task, setting, data, backend }) {
  const arm = arms.find((one) => one.kind === 'plain' && one.task === task);
  const { weights, learner, sft } = begin({ arm, setting, seed: 0, data, backend });
  const folder = mkdtempSync(join(tmpdir(), 'minke-study-'));
  const clock = clockOf(join(folder, 'clock.jsonl'));
  try {
    const config = { ...sft, steps: stepsOfPlain };
    const onStep = ({ global_step: step }) => clock.tick(step);
    await trainSft({ learner, source: data.source(0), config, folder, onStep });
  } finally {
    await learner.dispose();
    weights.dispose();
    rmSync(folder, { recursive: true });
  }
  return clock.seconds() / stepsOfPlain;
}

/** What a result says in a line. */
export function summary({ bitsPerByte: bits, accuracy, compression, training }) {
  const quality = bits
    ? `${bits.value.toFixed(4)} bits a byte (${bits.low.toFixed(4)} to ${bits.high.toFixed(4)})`
    : `accuracy ${(100 * accuracy.value).toFixed(1)} % (${(100 * accuracy.low).toFixed(1)} to ${(100 * accuracy.high).toFixed(1)})`;
  return `${quality}, ${compression.toFixed(3)} tokens an entry, ${training.seconds.toFixed(0)} s`;
}

export function modelOf(config, merging, seed, arena) {
  const model = DeepSeekModel.init(config, { arena, seed });
  return merging ? MergingTransformer.init(model, merging, { arena }) : model;
}

/** Quality on what was held out, and how much was merged there. */
async function measure({ arm, setting, model, data }) {
  const merged = { tokens: 0, entries: 0 };
  const counted = {
    ...{ backend: model.backend, headWeight: model.headWeight },
    batch: (...of) => model.batch(...of),
    async hidden(...of) {
      const found = await model.hidden(...of);
      merged.tokens += found.plan?.boundary.length ?? 1;
      merged.entries += found.plan?.size.length ?? 1;
      return found;
    },
  };
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;
  if (arm.task === 'text') {
    const { context, stride } = setting;
    const report = await bitsPerByte({
      documents: data.documents,
      score: modelScorer(counted),
      context,
      stride,
    });
    const documents = report.documents.map(({ bits, ...rest }) => ({
      ...rest,
      bits: Number(bits.toFixed(3)),
    }));
    const { bitsPerByte: rate, bytes, tokens } = report;
    return {
      ...{ bitsPerByte: rate, bytes, tokens, measuringSeconds: seconds() },
      ...{ compression: merged.tokens / merged.entries, documents },
    };
  }
  const { tokenizer, template, problems } = data;
  const end = tokenizer.tokenToId(deepseekTokens.eos);
  const texts = [];
  const complete = async (prompts) => {
    const ids = prompts.map((content) => encodeChat(tokenizer, template, [{ role: 'user', content }]).ids);
    const maxTokens = setting.taskContext;
    const found = await greedy(model, ids, { maxTokens, end });
    found.forEach((own, i) => {
      texts.push([...ids[i], ...own]);
    });
    return found.map((own) => tokenizer.decode(own, { skipSpecial: false }));
  };
  const { total, families } = await evaluate({ problems, complete, batchSize: 50 });
  // How much was merged of what was read and written.
  await modelScorer(counted)(texts.slice(0, 100).map((ids) => ({ ids, from: 1 })));
  return {
    ...{ accuracy: total.passAt1, n: total.n, correct: total.correct, measuringSeconds: seconds() },
    compression: merged.tokens / merged.entries,
    families: Object.fromEntries(
      Object.entries(families).map(([name, { passAt1, n, unanswered }]) => [
        name,
        { passAt1, n, unanswered },
      ]),
    ),
  };
}

/** Bytes that generation holds for a token of a context, f32, as the counters of `transformer` say. */
function cacheBytes(config, merging, context, compression) {
  if (merging === null) return attentionCacheBytes(config, { maxTokens: context }) / context;
  const size = { maxTokens: context, maxEntries: Math.ceil(context / compression), rollback: 0 };
  const { outer, middle, merge } = mergingStateBytes(config, merging, size);
  return (outer + middle + merge) / context;
}

/**
 * Seconds of each step of a run, kept over restarts: of a step that was done twice, the last time counts. A run takes its
 * median step as often as it has steps: where the machine was stopped or had other work says nothing of an arm.
 */
function clockOf(path) {
  const known = new Map();
  if (existsSync(path))
    for (const line of readFileSync(path, 'utf8').split('\n')) {
      if (!line.endsWith('}')) continue;
      const { step, seconds } = JSON.parse(line);
      known.set(step, seconds);
    }
  let before = performance.now();
  return {
    tick(step) {
      const now = performance.now();
      const seconds = (now - before) / 1000;
      before = now;
      known.set(step, seconds);
      appendFileSync(path, `${JSON.stringify({ step, seconds: Number(seconds.toFixed(4)) })}\n`);
      return seconds;
    },
    seconds: () => known.size * [...known.values()].sort((a, b) => a - b)[known.size >> 1],
  };
}

function readLog(folder) {
  return readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** The losses of a run in a hundred points at most: steps and means. */
function curveOf(log) {
  const width = Math.ceil(log.length / 100);
  return Array.from({ length: Math.ceil(log.length / width) }, (_, i) => {
    const part = log.slice(i * width, (i + 1) * width);
    return [part.at(-1).num_tokens, Number(mean(part.map(({ loss }) => loss)).toFixed(4))];
  });
}

const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
