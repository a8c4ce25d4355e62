// How much other boundaries would gain in a trained model of the fixed stride at two tokens an entry, and how much an
// inflation would in one of ours that copies changes back. Models that are trained with either are another matter.
//
//   node tools/study/headroom.mjs --corpus runs/corpus [--seed 0] [--out runs/study]
//
// Boundaries: every token of the test split is predicted twice, by boundaries at even and at odd places: once behind a
// boundary, with the middle layers' change of this very token, and once behind a token that repeats the change of the
// one before. What the stride costs is half of the difference. A router chooses the half of the tokens that has its
// change fresh; the best that one can do which knows a token and the one before, as a table learned from every second
// document and judged on the others.
//
// Inflation: a token behind no boundary is predicted with the change of the latest entry, as it copies it, and with its
// own, as if it began an entry, everything before being as it was. Where a router never lets such tokens begin an entry,
// that is a change which the middle layers have not learned to make.
//
// Needs the folders of complete runs of `stride-2` and `ours-2-copy`; writes docs/study/headroom.json.

import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { bootstrapRatio, modelScorer } from '../../packages/evaluation/dist/index.js';
import { auto } from '../../packages/gpu-backends/dist/index.js';
import { repositoryRoot } from '../scripts/process.mjs';
import { arms, settings } from './arms.mjs';
import { textData } from './data.mjs';
import { mean } from './results.mjs';
import { trainedModel } from './train-arm.mjs';

/** Where the report finds it. */
export const defaultHeadroom = join(repositoryRoot, 'docs/study/headroom.json');

/** Pairs seen less often than so many times are near the mean of all. */
const prior = 10;

/** Windows, and tokens of one, that get changes of their own: all of every sixth window, in sixteen passes. */
const sampled = { every: 6, spacing: 16 };

/**
 * Nats of each token but the first two of a window, behind a boundary (`fresh`) and behind none (`stale`).
 *
 * @param {object} model that merges
 * @param {readonly { ids: readonly number[] }[]} documents
 * @param {number} context tokens of a window
 * @returns {Promise<{ document: number, pair: string, fresh: number, stale: number }[]>}
 */
export async function freshAndStale(model, documents, context) {
  const found = [];
  for (const { document, ids } of windowsOf(documents, context)) {
    const passes = [0, 1].map((phase) => ids.map((_, t) => Number(t === 0 || t % 2 === phase)));
    const [even, odd] = await Promise.all(passes.map((boundaries) => pass(model, ids, boundaries)));
    for (let t = 2; t + 1 < ids.length; t++) {
      const [own, other] = t % 2 === 0 ? [even, odd] : [odd, even];
      found.push({ document, pair: `${ids[t - 1]} ${ids[t]}`, fresh: own.nats[t], stale: other.nats[t] });
    }
  }
  return found;
}

/**
 * Nats of the tokens of some windows that the model's own router puts behind no boundary, as they are (`stale`) and with
 * a boundary at the token itself (`fresh`). Those of one pass are `spacing` tokens apart, so that what comes before each
 * is hardly another.
 *
 * @param {object} model that merges
 * @param {readonly { ids: readonly number[] }[]} documents
 * @param {{ context: number, every: number, spacing: number }} how tokens of a window, one window of how many
 * @returns {Promise<{ all: number, tokens: { document: number, fresh: number, stale: number }[] }>} of `all` tokens
 */
export async function ownChanges(model, documents, { context, every, spacing }) {
  const tokens = [];
  const windows = windowsOf(documents, context).filter((_, i) => i % every === 0);
  for (const { document, ids } of windows) {
    const usual = await pass(model, ids);
    for (let first = 0; first < spacing; first++) {
      const boundaries = ids.map((_, t) => Number(usual.boundary[t] === 1 || t % spacing === first));
      const { nats } = await pass(model, ids, boundaries);
      for (let t = first; t + 1 < ids.length; t += spacing)
        if (usual.boundary[t] === 0) tokens.push({ document, fresh: nats[t], stale: usual.nats[t] });
    }
  }
  return { all: windows.reduce((sum, { ids }) => sum + ids.length - 1, 0), tokens };
}

/** Windows of `context` tokens, each beginning with the last one of the window before. */
function windowsOf(documents, context) {
  return documents.flatMap(({ ids }, document) =>
    Array.from({ length: Math.ceil(Math.max(0, ids.length - 3) / (context - 1)) }, (_, i) => ({
      ...{ document, ids: ids.slice(i * (context - 1), i * (context - 1) + context) },
    })),
  );
}

/** Nats of the token behind each of a window, and the boundaries there were: the router's, or others. */
async function pass(model, ids, boundaries) {
  let plan;
  const asked = {
    ...{ backend: model.backend, headWeight: model.headWeight },
    batch: (...of) => model.batch(...of),
    async hidden(batch, options) {
      const found = await model.hidden(batch, { ...options, ...(boundaries && { boundaries }) });
      plan = found.plan;
      return found;
    },
  };
  const [logProbs] = await modelScorer(asked)([{ ids, from: 1 }]);
  return { nats: Array.from(logProbs, (logProb) => -logProb), boundary: plan.boundary };
}

/** What stale changes cost a token, in nats, with its interval over documents. */
function costOfStale(tokens) {
  const byDocument = new Map();
  for (const { document, fresh, stale } of tokens) {
    const [sum = 0, count = 0] = byDocument.get(document) ?? [];
    byDocument.set(document, [sum + stale - fresh, count + 1]);
  }
  const [sums, counts] = [0, 1].map((part) => Array.from(byDocument.values(), (of) => of[part]));
  const { value, low, high } = bootstrapRatio(sums, counts);
  return {
    tokens: tokens.length,
    fresh: mean(tokens.map((one) => one.fresh)),
    stale: mean(tokens.map((one) => one.stale)),
    cost: { value, low, high },
  };
}

const scaled = ({ value, low, high }, by) => ({ value: value * by, low: low * by, high: high * by });

/** What the stride costs, and what is left of it where the pairs of tokens choose, in nats a token. */
export function headroom(tokens) {
  const { cost, ...means } = costOfStale(tokens);
  const lost = tokens.map(({ fresh, stale, ...rest }) => ({ ...rest, nats: stale - fresh }));
  const judged = lost.filter(({ document }) => document % 2 === 1);
  const expected = expectedLoss(lost.filter(({ document }) => document % 2 === 0));
  const stale = judged
    .map(({ pair, nats }) => ({ nats, expected: expected(pair) }))
    .sort((a, b) => a.expected - b.expected)
    .slice(0, judged.length >> 1);
  return {
    ...means,
    stride: scaled(cost, 0.5),
    judged: {
      stride: mean(judged.map(({ nats }) => nats)) / 2,
      byPair: stale.reduce((sum, { nats }) => sum + nats, 0) / judged.length,
    },
  };
}

/** What their own changes would gain the tokens behind no boundary, in nats a token of all. */
export function inflationHeadroom({ all, tokens }) {
  const { cost, ...means } = costOfStale(tokens);
  const share = tokens.length / all;
  return { ...means, share, gain: scaled(cost, share) };
}

/** What a pair of tokens loses, learned from some. */
function expectedLoss(known) {
  const all = mean(known.map(({ nats }) => nats));
  const table = new Map();
  for (const { pair, nats } of known) {
    const [sum = 0, count = 0] = table.get(pair) ?? [];
    table.set(pair, [sum + nats, count + 1]);
  }
  return (pair) => {
    const [sum = 0, count = 0] = table.get(pair) ?? [];
    return (sum + prior * all) / (count + prior);
  };
}

async function main() {
  const { values } = parseArgs({
    options: {
      corpus: { type: 'string' },
      out: { type: 'string', default: join(repositoryRoot, 'runs/study') },
      seed: { type: 'string', default: '0' },
    },
  });
  if (values.corpus === undefined)
    throw new Error('expected --corpus and a folder made by tools/study/corpus.mjs, got none');
  const setting = settings.full;
  const out = resolve(values.out);
  const seed = Number(values.seed);
  const data = textData(out, resolve(values.corpus), setting);
  const backend = await auto();
  const trained = (name) => {
    const arm = arms.find((one) => one.name === name);
    return trainedModel({ arm, setting, seed, data, backend, folder: join(out, `${name}-${seed}`) });
  };
  const { documents } = data;
  const [stride, copying] = ['stride-2', 'ours-2-copy'];
  const found = headroom(await freshAndStale(await trained(stride), documents, setting.context));
  const changes = await ownChanges(await trained(copying), documents, { ...setting, ...sampled });
  const sum = (name) => documents.reduce((total, document) => total + document[name], 0);
  const idsPerByte = documents.reduce((total, { ids }) => total + ids.length - 1, 0) / sum('bytes');
  const record = {
    ...{ arm: stride, seed, bitsPerByteOfNat: idsPerByte / Math.LN2, ...found },
    inflation: { arm: copying, ...inflationHeadroom(changes) },
  };
  writeFileSync(defaultHeadroom, `${JSON.stringify(record, null, 1)}\n`);
  console.log(record);
}

if (process.argv[1] === import.meta.filename) {
  await main();
  process.exit();
}
