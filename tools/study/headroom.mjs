// How much other boundaries would gain in a trained model of the fixed stride at two tokens an entry, and how much an
// inflation would in one of ours that copies changes back. Models that are trained with either are another matter.
//
//   node tools/study/headroom.mjs --corpus runs/corpus [--seed 0] [--out runs/study]
//
// Boundaries: every token of the test split is predicted twice, by boundaries at even and at odd places: once behind a
// boundary, with the middle layers' change of this very token, and once behind a token that repeats the change of the
// one before. What the stride costs is half of the difference. A router chooses the half of the tokens that has its
// change fresh; the best that one can do which knows a token and the one before, as a table learned from every second
// document and judged on the others. Inflation: `inflation-headroom.mjs`. Needs the folders of complete runs of
// `stride-2` and `ours-2-copy`; writes docs/study/headroom.json.

import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { bootstrapRatio, modelScorer } from '../../packages/evaluation/dist/index.js';
import { auto } from '../../packages/gpu-backends/dist/index.js';
import { repositoryRoot } from '../scripts/process.mjs';
import { arms, settings } from './arms.mjs';
import { textData } from './data.mjs';
import { foretold, gained, ownChanges } from './inflation-headroom.mjs';
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
  for (const [document, { ids: all }] of documents.entries())
    for (let begin = 0; begin + 3 < all.length; begin += context - 1) {
      const ids = all.slice(begin, begin + context);
      const [even, odd] = await Promise.all([0, 1].map((phase) => losses(model, ids, phase)));
      for (let t = 2; t + 1 < ids.length; t++) {
        const [fresh, stale] = t % 2 === 0 ? [even[t], odd[t]] : [odd[t], even[t]];
        found.push({ document, pair: `${ids[t - 1]} ${ids[t]}`, fresh, stale });
      }
    }
  return found;
}

/** Nats of the token behind each, with every second token a boundary. */
async function losses(model, ids, phase) {
  const boundaries = ids.map((_, t) => Number(t === 0 || t % 2 === phase));
  const fixed = {
    ...{ backend: model.backend, headWeight: model.headWeight },
    batch: (...of) => model.batch(...of),
    hidden: (batch, options) => model.hidden(batch, { ...options, boundaries }),
  };
  const [logProbs] = await modelScorer(fixed)([{ ids, from: 1 }]);
  return Array.from(logProbs, (logProb) => -logProb);
}

/** What the stride costs, and what is left of it where the pairs of tokens choose, in nats a token. */
export function headroom(tokens) {
  const lost = tokens.map(({ fresh, stale, ...rest }) => ({ ...rest, nats: stale - fresh }));
  const byDocument = new Map();
  for (const { document, nats } of lost) {
    const [sum = 0, count = 0] = byDocument.get(document) ?? [];
    byDocument.set(document, [sum + nats, count + 1]);
  }
  const documents = [...byDocument.values()];
  const { value, low, high } = bootstrapRatio(
    documents.map(([sum]) => sum / 2),
    documents.map(([, count]) => count),
  );
  const judged = lost.filter(({ document }) => document % 2 === 1);
  const expected = expectedLoss(lost.filter(({ document }) => document % 2 === 0));
  const stale = judged
    .map(({ pair, nats }) => ({ nats, expected: expected(pair) }))
    .sort((a, b) => a.expected - b.expected)
    .slice(0, judged.length >> 1);
  return {
    tokens: tokens.length,
    fresh: mean(tokens.map((one) => one.fresh)),
    stale: mean(tokens.map((one) => one.stale)),
    stride: { value, low, high },
    judged: {
      stride: mean(judged.map(({ nats }) => nats)) / 2,
      byPair: stale.reduce((sum, { nats }) => sum + nats, 0) / judged.length,
    },
  };
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
    inflation: { arm: copying, ...gained(changes), left: foretold(changes) },
  };
  writeFileSync(defaultHeadroom, `${JSON.stringify(record, null, 1)}\n`);
  console.log(record);
}

if (process.argv[1] === import.meta.filename) {
  await main();
  process.exit();
}
