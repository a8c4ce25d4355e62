// How well what a token knows foretells the change that the middle layers would make to it. An inflator gives a token
// behind no boundary a change of an entry before it; the better it foretells the token's own, the less merging loses.

import { Arena } from '../../packages/tensor/dist/index.js';
import { DynamicTokenInflator } from '../../packages/tokenizer-merging/dist/merging/index.js';
import { MergingTransformer } from '../../packages/transformer/dist/index.js';

/** Part of the mean square of the features that is added to it, so that few tokens have a solution, too. */
const ridge = 1e-3;

/**
 * @typedef {object} Changes of tokens, rows of `width` numbers
 * @property {number} width
 * @property {number[]} document of each token
 * @property {Float32Array} own state before the middle layers
 * @property {Float32Array} entry whose change a token behind no boundary repeats
 * @property {Float32Array} stale that change
 * @property {Float32Array} fresh the change of this very token, where it begins an entry
 */

/**
 * Of all but the first two tokens of every `every`-th window.
 *
 * @param {MergingTransformer} model
 * @param {readonly { ids: readonly number[] }[]} documents
 * @param {number} context tokens of a window
 * @param {number} every
 * @returns {Promise<Changes>}
 */
export async function changesOf(model, documents, context, every) {
  const width = model.model.config.hiddenSize;
  const watching = new Watching(model.inflator.config, model.inflator.parameters());
  const { convolution, merger, sizeBias } = model;
  const parts = { ...(convolution && { convolution }), merger, inflator: watching, sizeBias };
  const watched = new MergingTransformer(model.model, model.config, parts);
  const rows = { document: [], own: [], entry: [], stale: [], fresh: [] };
  const windows = documents
    .flatMap(({ ids }, document) =>
      Array.from({ length: Math.ceil(Math.max(0, ids.length - 3) / (context - 1)) }, (_, i) => ({
        ...{ document, ids: ids.slice(i * (context - 1), i * (context - 1) + context) },
      })),
    )
    .filter((_, i) => i % every === 0);
  for (const { document, ids } of windows) {
    const [even, odd] = [await seen(watched, ids, 0), await seen(watched, ids, 1)];
    for (let t = 2; t < ids.length; t++) {
      const [own, other] = t % 2 === 0 ? [even, odd] : [odd, even];
      const row = (values, at) => values.subarray(at * width, (at + 1) * width);
      rows.document.push(document);
      rows.own.push(row(other.h, t));
      rows.entry.push(row(other.entries, other.entryOfToken[t]));
      rows.stale.push(row(other.changes, other.entryOfToken[t]));
      rows.fresh.push(row(own.changes, own.entryOfToken[t]));
    }
  }
  const { document, ...values } = rows;
  const joined = Object.entries(values).map(([name, parts]) => [name, joinRows(parts, width)]);
  return { width, document, ...Object.fromEntries(joined) };
}

/** Keeps what it inflates. */
class Watching extends DynamicTokenInflator {
  seen = null;

  forward(h, entries, middle, plan, batch) {
    this.seen = { h, entries, middle, plan };
    return super.forward(h, entries, middle, plan, batch);
  }
}

/** What the inflator was given for a window with every second token a boundary. */
async function seen(model, ids, phase) {
  const arena = new Arena(model.backend, { label: 'changes' });
  try {
    const boundaries = ids.map((_, t) => Number(t === 0 || t % 2 === phase));
    await model.hidden(model.batch(arena, [ids]), { boundaries });
    const { h, entries, middle, plan } = model.inflator.seen;
    const read = await Promise.all([h, entries, middle].map((tensor) => tensor.read()));
    const [own, merged, changed] = read.map((values) => Float32Array.from(values));
    const changes = changed.map((value, i) => value - merged[i]);
    return { h: own, entries: merged, changes, entryOfToken: Array.from(plan.entryOfToken) };
  } finally {
    arena.dispose();
  }
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
 * @param {Changes} changes
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
    tokens: document.length,
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
