// `pnpm bench routing --policy FOLDER [--steps N] [--seed S] [--threads N]`: what routing replay would change.
//
// Sampler and trainer compute the same bits, so the first update after a rollout routes every token as the sampler did.
// The second update of the rollout sees weights that have moved. Measured there, on GRPO of the recipe's first
// reinforcement continued from a policy (a stage's `model` folder): the share of (token, layer) pairs whose experts are
// others than at the rollout; importance ratios of tokens with and without such a pair; the same tokens' ratios at the
// same weights if the rollout's experts are replayed (R3, arXiv 2510.11370); and the reward of two runs of N steps from
// the same policy and seed, one with replay and one without. The last line is a JSON object as of other benchmarks.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { promptOf, recipeSettings, seedOf, tasksOf } from '../../../apps/r1-recipe/dist/index.js';
import { joinLanguageModel, loadTextFormat } from '../../../packages/inference/dist/index.js';
import { languageConsistency } from '../../../packages/reasoning-tasks/dist/index.js';
import {
  formatReward,
  localPolicy,
  perCompletion,
  taskAccuracyReward,
  trainGrpo,
} from '../../../packages/rl-trainer/dist/index.js';
import { Arena } from '../../../packages/tensor/dist/index.js';
import { encodeChat } from '../../../packages/tokenizer-merging/dist/chat/index.js';
import { loadModel } from '../../../packages/transformer/dist/index.js';
import { nativeBackend } from '../harness/serve.mjs';
import { ObservedModel, WatchedLearner } from './observed.mjs';

const { values: options } = parseArgs({
  options: {
    policy: { type: 'string' },
    steps: { type: 'string', default: '100' },
    seed: { type: 'string', default: '0' },
    threads: { type: 'string', default: '2' },
    quick: { type: 'boolean' },
  },
});
if (options.policy === undefined) {
  process.stderr.write(
    'bench routing: expected --policy, the model folder of a stage of a recipe run, got none\n',
  );
  process.exit(2);
}
const steps = options.quick ? 20 : Number(options.steps);
const seed = Number(options.seed);
const { config } = recipeSettings.full.grpo1;
const { epsilonLow, epsilonHigh } = config.objective.loss;

const rewards = [
  { name: 'accuracy', reward: taskAccuracyReward(), ifNull: 'skip' },
  { name: 'format', reward: formatReward(), weight: 0.5, ifNull: 'skip' },
  {
    ...{ name: 'language', weight: 0.5, ifNull: 'skip' },
    reward: perCompletion(({ completion, language }) =>
      languageConsistency(completion.split('</think>')[0], language === 'es' ? 'es' : 'en'),
    ),
  },
];

/** Logs of ratios of some tokens. */
class Ratios {
  logs = [];

  figures() {
    const sizes = this.logs.map(Math.abs).sort((a, b) => a - b);
    const n = sizes.length;
    const ratios = this.logs.map(Math.exp);
    const outside = ratios.filter((ratio) => ratio < 1 - epsilonLow || ratio > 1 + epsilonHigh).length;
    const at = (share) => (n === 0 ? 0 : sizes[Math.min(n - 1, Math.floor(share * n))]);
    return {
      ...{ tokens: n, meanAbsLog: n === 0 ? 0 : sizes.reduce((a, b) => a + b, 0) / n },
      ...{ p99AbsLog: at(0.99), p999AbsLog: at(0.999), outsideClip: n === 0 ? 0 : outside / n },
    };
  }
}

/** One run from the policy; the figures of its later updates. */
async function run(replays) {
  const backend = await nativeBackend(Number(options.threads));
  const arena = new Arena(backend, { persistent: true, label: 'model' });
  const loaded = await loadModel(options.policy, { backend, arena });
  const model = new ObservedModel(loaded.config, loaded.parameters());
  const language = joinLanguageModel(model, await loadTextFormat(options.policy));
  const local = await localPolicy(language, {
    contextLength: 384,
    learner: { biasUpdateGamma: 1e-3, balanceAlpha: 1e-4 },
  });
  const { topK } = model.config.moe;
  const kinds = ['same experts', 'other experts'];
  const own = kinds.map(() => new Ratios());
  const other = kinds.map(() => new Ratios());
  let [pairs, rerouted] = [0, 0];
  const learner = new WatchedLearner(local.learner, model, {
    replays,
    onUpdate({ sequences, kept, free, logProbs, alternative }) {
      for (const [i, { tokens, completionStart, oldLogProbs }] of sequences.entries()) {
        const [before, now] = [kept.get(tokens), free.get(tokens)];
        for (let j = 0; j < tokens.length - completionStart; j++) {
          // The row before a token decides it.
          const t = completionStart + j - 1;
          let changed = 0;
          for (const [layer, chosen] of now.entries()) {
            let differs = false;
            for (let k = t * topK; k < (t + 1) * topK; k++) differs ||= chosen[k] !== before[layer][k];
            changed += Number(differs);
          }
          pairs += now.length;
          rerouted += changed;
          const kind = changed > 0 ? 1 : 0;
          own[kind].logs.push(logProbs[i][j] - oldLogProbs[j]);
          other[kind].logs.push(alternative[i][j] - oldLogProbs[j]);
        }
      }
    },
  });
  const at = tasksOf('derived', { seed: seedOf(seed, 'grpo-1') });
  let position = 0;
  const prompts = {
    next() {
      const task = at(position++);
      const { ids } = encodeChat(language.tokenizer, language.template, [
        { role: 'user', content: task.prompt },
      ]);
      return { tokens: [...ids], input: promptOf(task) };
    },
    state: () => position,
    restore: (state) => {
      position = state;
    },
  };
  const folder = mkdtempSync(join(tmpdir(), 'minke-bench-routing-'));
  const lines = [];
  try {
    await trainGrpo({
      ...{ ...local, learner, prompts, rewards, config, steps, seed, folder },
      checkpointEvery: steps,
      onStep(metrics) {
        lines.push(metrics);
        process.stderr.write(
          `\r${replays ? 'with' : 'without'} replay: step ${metrics.global_step} of ${steps}`,
        );
      },
    });
  } finally {
    process.stderr.write('\n');
    rmSync(folder, { recursive: true, force: true });
    await local.dispose();
    arena.dispose();
    backend.dispose();
  }
  return { rerouted: rerouted / pairs, pairs, kinds, own, other, lines };
}

const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
/** Means over the rollouts of the last quarter of the steps. */
const late = (lines, name) => mean(lines.slice(-Math.ceil(lines.length / 4)).map((line) => line[name]));
const percent = (share, digits = 3) => `${(100 * share).toFixed(digits)} %`;

const plain = await run(false);
const replay = await run(true);
const results = [];
const add = (name, unit, without, withReplay) =>
  results.push({
    case: name,
    unit,
    ours: without,
    peer: withReplay,
    peerName: 'routing replay',
    ratio: null,
  });
add('pairs of token and layer with other experts', 'share', plain.rerouted, replay.rerouted);
const all = (ratios) => Object.assign(new Ratios(), { logs: ratios.flatMap(({ logs }) => logs) });
console.log(
  `pairs ${plain.pairs}, with other experts ${percent(plain.rerouted)}; in the run with replay ${percent(replay.rerouted)}`,
);
console.log(
  '\nsecond updates of the run without replay: |log ratio| to the rollout, and beyond the clip range',
);
for (const [label, own, other] of [
  ...plain.kinds.map((kind, i) => [kind, plain.own[i], plain.other[i]]),
  ['all', all(plain.own), all(plain.other)],
]) {
  const [a, b] = [own.figures(), other.figures()];
  for (const [name, unit] of [
    ['meanAbsLog', 'nats'],
    ['p99AbsLog', 'nats'],
    ['p999AbsLog', 'nats'],
    ['outsideClip', 'share'],
  ])
    add(`${label}: ${name}`, unit, a[name], b[name]);
  const show = ({ meanAbsLog, p99AbsLog, p999AbsLog, outsideClip }) =>
    `mean ${meanAbsLog.toFixed(5)}, 99 % ${p99AbsLog.toFixed(4)}, 99.9 % ${p999AbsLog.toFixed(4)}, outside ${percent(outsideClip)}`;
  console.log(`${label.padEnd(14)} ${String(a.tokens).padStart(8)} tokens   own routing: ${show(a)}`);
  console.log(`${''.padEnd(14)} ${''.padStart(8)}          replayed:    ${show(b)}`);
}
console.log('\nmeans over the last quarter of the steps, without and with replay');
for (const name of [
  'reward',
  'rewards/accuracy/mean',
  'clip_ratio/region_mean',
  'max_vio',
  'dead_experts',
  'entropy',
  'kl',
]) {
  const [a, b] = [late(plain.lines, name), late(replay.lines, name)];
  add(`late ${name}`, '1', a, b);
  console.log(`${name.padEnd(24)} ${a.toFixed(5).padStart(9)} ${b.toFixed(5).padStart(9)}`);
}
console.log(JSON.stringify({ bench: 'routing', machine: { threads: Number(options.threads) }, results }));
