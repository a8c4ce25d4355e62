// How much an inflation would gain in a trained model that copies changes back. A token behind no boundary has the change
// of the latest entry; here it gets its own, as if it began an entry, everything else being as before. How well what the
// token knows foretells its own change says how much of it is in reach without the middle layers. Where a router never
// lets such tokens begin an entry, their own change is one that the middle layers have not learned to make.

import { bootstrapRatio, modelScorer } from '../../packages/evaluation/dist/index.js';
import { DynamicTokenInflator } from '../../packages/tokenizer-merging/dist/merging/index.js';
import { MergingTransformer } from '../../packages/transformer/dist/index.js';

/** Part of the mean square of the features that is added to it, so that few tokens have a solution, too. */
const ridge = 1e-3;

/**
 * @typedef {object} OwnChanges of tokens behind no boundary; changes and states are rows of `width` numbers
 * @property {number} width
 * @property {number} tokens of the windows, those at boundaries included
 * @property {number[]} document of each token
 * @property {number[]} staleNats of what follows it, with the change of the latest entry
 * @property {number[]} freshNats with its own
 * @property {Float32Array} own state before the middle layers
 * @property {Float32Array} entry the latest one
 * @property {Float32Array} stale change of that entry
 * @property {Float32Array} fresh change of an entry that begins at this token
 */

/**
 * Of all tokens behind no boundary in some windows. Those that get their own change in one pass are `spacing` tokens
 * apart, so that what comes before them is hardly another.
 *
 * @param {MergingTransformer} model
 * @param {readonly { ids: readonly number[] }[]} documents
 * @param {{ context: number, every: number, spacing: number }} how tokens of a window, one window of how many
 * @returns {Promise<OwnChanges>}
 */
export async function ownChanges(model, documents, { context, every, spacing }) {
  const width = model.model.config.hiddenSize;
  const watching = new Watching(model.inflator.config, model.inflator.parameters());
  const { convolution, merger, sizeBias } = model;
  const parts = { ...(convolution && { convolution }), merger, inflator: watching, sizeBias };
  const watched = new MergingTransformer(model.model, model.config, parts);
  const [document, staleNats, freshNats] = [[], [], []];
  const rows = { own: [], entry: [], stale: [], fresh: [] };
  const windows = windowsOf(documents, context).filter((_, i) => i % every === 0);
  let tokens = 0;
  for (const window of windows) {
    const { ids } = window;
    tokens += ids.length - 1;
    const usual = await pass(watched, ids);
    for (let first = 0; first < spacing; first++) {
      const asked = ids.map((_, t) => Number(usual.boundary[t] === 1 || t % spacing === first));
      const other = await pass(watched, ids, asked);
      for (let t = first; t + 1 < ids.length; t += spacing) {
        if (usual.boundary[t] === 1) continue;
        document.push(window.document);
        staleNats.push(usual.nats[t]);
        freshNats.push(other.nats[t]);
        rows.own.push(rowOf(usual.h, t, width));
        rows.entry.push(rowOf(usual.entries, usual.entryOfToken[t], width));
        rows.stale.push(rowOf(usual.changes, usual.entryOfToken[t], width));
        rows.fresh.push(rowOf(other.changes, other.entryOfToken[t], width));
      }
    }
  }
  const joined = Object.entries(rows).map(([name, parts]) => [name, joinRows(parts, width)]);
  return { width, tokens, document, staleNats, freshNats, ...Object.fromEntries(joined) };
}

const rowOf = (values, at, width) => values.slice(at * width, (at + 1) * width);

/** Windows of `context` tokens, each beginning with the last one of the window before. */
function windowsOf(documents, context) {
  return documents.flatMap(({ ids }, document) =>
    Array.from({ length: Math.ceil(Math.max(0, ids.length - 3) / (context - 1)) }, (_, i) => ({
      ...{ document, ids: ids.slice(i * (context - 1), i * (context - 1) + context) },
    })),
  );
}

/** Keeps what it inflates. */
class Watching extends DynamicTokenInflator {
  seen = null;

  forward(h, entries, middle, plan, batch) {
    const read = Promise.all([h, entries, middle].map((tensor) => tensor.read()));
    this.seen = { read, plan };
    return super.forward(h, entries, middle, plan, batch);
  }
}

/** Nats of the token behind each and what was inflated; boundaries as the router has them, or others. */
async function pass(model, ids, boundaries) {
  const asked = {
    ...{ backend: model.backend, headWeight: model.headWeight },
    batch: (...of) => model.batch(...of),
    hidden: (batch, options) => model.hidden(batch, { ...options, ...(boundaries && { boundaries }) }),
  };
  const [logProbs] = await modelScorer(asked)([{ ids, from: 1 }]);
  const { read, plan } = model.inflator.seen;
  const [h, entries, changed] = (await read).map((values) => Float32Array.from(values));
  const changes = changed.map((value, i) => value - entries[i]);
  const { boundary, entryOfToken } = plan;
  return { nats: Array.from(logProbs, (logProb) => -logProb), h, entries, changes, boundary, entryOfToken };
}

/**
 * What their own changes would gain tokens, in nats: `stale` and `fresh` a token behind no boundary, `gain` a token of
 * all, with its interval over documents.
 *
 * @param {OwnChanges} changes
 */
export function gained({ tokens, document, staleNats, freshNats }) {
  const sums = new Map();
  for (const [i, of] of document.entries()) {
    const [sum = 0, count = 0] = sums.get(of) ?? [];
    sums.set(of, [sum + staleNats[i] - freshNats[i], count + 1]);
  }
  const [gains, counts] = [0, 1].map((part) => Array.from(sums.values(), (of) => of[part]));
  const share = document.length / tokens;
  const { value, low, high } = bootstrapRatio(gains, counts);
  const mean = (values) => values.reduce((sum, nats) => sum + nats, 0) / values.length;
  return {
    tokens: document.length,
    share,
    stale: mean(staleNats),
    fresh: mean(freshNats),
    gain: { value: share * value, low: share * low, high: share * high },
  };
}

function joinRows(rows, width) {
  const joined = new Float32Array(rows.length * width);
  for (const [i, row] of rows.entries()) joined.set(row, i * width);
  return joined;
}

/**
 * The share of the variance of fresh changes that is left on every second document, learned from the others, where a
 * token has the stale change as it is (`copied`), with a factor for each channel (`scaled`), and where its change is
 * linear in its state, the entry and the stale change (`linear`).
 *
 * @param {OwnChanges} changes
 */
export function foretold({ width, document, own, entry, stale, fresh }) {
  const rows = document.map((_, i) => i);
  const [known, judged] = [0, 1].map((parity) => rows.filter((i) => document[i] % 2 === parity));
  const linear = leastSquares(known, [own, entry, stale], fresh, width);
  const scale = Array.from({ length: width }, (_, c) => {
    const sum = (of) => known.reduce((total, i) => total + of(i * width + c), 0);
    return sum((at) => stale[at] * fresh[at]) / sum((at) => stale[at] ** 2);
  });
  const mean = Array.from({ length: width }, (_, c) => {
    return judged.reduce((total, i) => total + fresh[i * width + c], 0) / judged.length;
  });
  const missed = (guess) =>
    judged.reduce((total, i) => {
      const guessed = guess(i);
      return total + guessed.reduce((sum, value, c) => sum + (fresh[i * width + c] - value) ** 2, 0);
    }, 0);
  const all = missed(() => mean);
  const stales = (i) => Array.from(stale.subarray(i * width, (i + 1) * width));
  return {
    copied: missed(stales) / all,
    scaled: missed((i) => stales(i).map((value, c) => value * scale[c])) / all,
    linear: missed(linear) / all,
  };
}

/** The linear guess of `target` from `sources` and a constant, learned from some rows, by ridge regression. */
function leastSquares(known, sources, target, width) {
  const size = sources.length * width + 1;
  const features = (i) => {
    const row = new Float64Array(size);
    for (const [k, source] of sources.entries())
      row.set(source.subarray(i * width, (i + 1) * width), k * width);
    row[size - 1] = 1;
    return row;
  };
  const gram = Array.from({ length: size }, () => new Float64Array(size));
  const right = Array.from({ length: size }, () => new Float64Array(width));
  for (const i of known) {
    const x = features(i);
    const y = target.subarray(i * width, (i + 1) * width);
    for (let a = 0; a < size; a++) {
      const [value, row, sums] = [x[a], gram[a], right[a]];
      for (let b = 0; b <= a; b++) row[b] += value * x[b];
      for (let c = 0; c < width; c++) sums[c] += value * y[c];
    }
  }
  const trace = gram.reduce((sum, row, a) => sum + row[a], 0);
  for (const [a, row] of gram.entries()) row[a] += (ridge * trace) / size;
  const weights = solve(gram, right);
  return (i) => {
    const x = features(i);
    const guess = new Float64Array(width);
    for (let a = 0; a < size; a++) for (let c = 0; c < width; c++) guess[c] += x[a] * weights[a][c];
    return guess;
  };
}

/** X of A X = B by Cholesky's factors, in place; of A, symmetric and positive, the lower half is read. */
function solve(A, B) {
  const size = A.length;
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = A[i][j];
      for (let k = 0; k < j; k++) sum -= A[i][k] * A[j][k];
      A[i][j] = i === j ? Math.sqrt(sum) : sum / A[j][j];
    }
    for (let k = 0; k < i; k++) subtract(B[i], A[i][k], B[k]);
    divide(B[i], A[i][i]);
  }
  for (let i = size - 1; i >= 0; i--) {
    for (let k = i + 1; k < size; k++) subtract(B[i], A[k][i], B[k]);
    divide(B[i], A[i][i]);
  }
  return B;
}

function subtract(row, factor, other) {
  for (let c = 0; c < row.length; c++) row[c] -= factor * other[c];
}

function divide(row, by) {
  for (let c = 0; c < row.length; c++) row[c] /= by;
}
