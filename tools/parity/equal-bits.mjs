// What rounding to 8 and 4 bits costs, ours beside llama.cpp's: the same trained weights, the same blocks, equal bits.
//
//   node tools/parity/equal-bits.mjs [model ...]    a built checkout; models: smollm2, tiny-reasoner
//
// `quantize` of ours and ggml_quantize_chunk, which llama.cpp's quantiser calls for each tensor, round every matrix of a
// linear layer and the table of tokens. Two things are compared with the original in f32: the weights (root mean square of
// the error over that of the weights), and logits, as both sets of blocks give them in the same engine: total variation
// and Kullback-Leibler divergence of the next token, means over positions, and the root mean square error of logits.
//
// Widened to f32, where nothing but the blocks differs, ours must be no larger in any of them. As an engine runs them,
// with activations rounded to 8 bits, too, that rounding is the larger part of the error in 8 bits, and where it sends a
// token to other experts one row outweighs a thousand: there ours must not be larger beyond two standard errors of the
// difference. The largest error of a logit, of some ten million, is printed and decides nothing.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dequantizeBlocks, Random } from '../../packages/core/dist/index.js';
import { auto } from '../../packages/gpu-backends/dist/index.js';
import { loadLanguageModel } from '../../packages/inference/dist/index.js';
import { completionText, generate } from '../../packages/reasoning-tasks/dist/index.js';
import { Arena, call } from '../../packages/tensor/dist/index.js';
import { loadModel, quantizableParameters, tokenTable } from '../../packages/transformer/dist/index.js';
import { repositoryRoot } from '../scripts/process.mjs';
import { ensureSmolLM2, llamaCpp } from './llama-cpp.mjs';

/** GGML's number of each type. */
const types = { q8_0: { gguf: 'Q8_0', id: 8 }, q4_0: { gguf: 'Q4_0', id: 2 } };
const blockNumbers = 32;
/** Tokens that pass through a model at once, and neighbours that count as one sample. */
const [window, unit] = [256, 32];

const models = {
  async smollm2() {
    const language = await loadLanguageModel(await ensureSmolLM2(), { backend });
    const text = readFileSync(join(repositoryRoot, 'tools/ci/pretrained-text.txt'), 'utf8');
    return { model: language.model, ids: [[...language.tokenizer.encode(text)]] };
  },
  /** Latent attention and experts; problems of the kinds it was trained on, with their thoughts. */
  async 'tiny-reasoner'() {
    const folder = join(repositoryRoot, 'packages/tiny-reasoner/model');
    const { model, tokenizer, template } = await loadLanguageModel(folder, { backend });
    const random = new Random(1);
    const families = ['chain_sum', 'products', 'number_sorting', 'letter_counting', 'number_comparison'];
    const ids = Array.from({ length: 400 }, (_, i) => {
      const problem = generate(families[i % families.length], random, 1);
      const prompt = template.render([{ role: 'user', content: problem.prompt }]);
      return [...tokenizer.encode(prompt + completionText(problem), { allowSpecial: true })];
    });
    return { model, ids };
  },
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in models));
if (unknown.length > 0) {
  console.error(
    `equal-bits: expected models out of ${Object.keys(models).join(', ')}, got ${unknown.join(', ')}`,
  );
  process.exit(2);
}
const work = mkdtempSync(join(tmpdir(), 'minke-equal-bits-'));
const backend = await auto();
let [passed, failed] = [0, 0];
try {
  console.log('| model | type | activations | of | weights | mean TV | mean KL | RMS of logits | largest |');
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const name of wanted.length > 0 ? wanted : Object.keys(models)) await compare(name);
} finally {
  rmSync(work, { recursive: true });
  backend.dispose();
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function compare(name) {
  const { model, ids } = await models[name]();
  const sequences = ids.flatMap((all) =>
    Array.from({ length: Math.ceil(all.length / window) }, (_, i) => all.slice(i * window, (i + 1) * window)),
  );
  const { config } = model;
  const weights = new Map();
  for (const [key, w] of model.parameters())
    weights.set(key, { shape: w.shape, numbers: Float32Array.from(await w.read()) });
  const exact = await logitsOf(model, sequences);
  model.headWeight.arena.dispose();
  const rounded = [...new Set([tokenTable, ...quantizableParameters(config).keys()])].filter((key) =>
    weights.has(key),
  );
  for (const type of Object.keys(types)) {
    const sides = {
      ours: ourBlocks(type, rounded, weights),
      'llama.cpp': await theirBlocks(type, rounded, weights),
    };
    const rows = {};
    for (const [side, blocks] of Object.entries(sides)) {
      const weightError = errorOf(type, blocks, weights);
      for (const activations of ['f32', '8 bits']) {
        const source = sourceOf(type, blocks, weights, activations === 'f32');
        const arena = new Arena(backend, { persistent: true });
        const loaded = await loadModel({ config, weights: source }, { backend, arena });
        const found = { weightError, ...differences(exact, await logitsOf(loaded, sequences)) };
        arena.dispose();
        rows[`${activations} ${side}`] = found;
        const e = (x) => x.toExponential(2);
        const [variation, divergence, squares] = [found.variation, found.divergence, found.squares].map(
          meanOf,
        );
        const figures = [variation, divergence, Math.sqrt(squares), found.largest].map(e);
        console.log(
          `| ${[name, type, activations, side, `${(100 * weightError).toFixed(3)} %`, ...figures].join(' | ')} |`,
        );
      }
    }
    const [own, other] = ['ours', 'llama.cpp'].map((side) => (activations) => rows[`${activations} ${side}`]);
    check(`${name} ${type}: weights`, own('f32').weightError <= other('f32').weightError);
    for (const activations of ['f32', '8 bits'])
      for (const measure of ['variation', 'divergence', 'squares']) {
        const { mean, error } = paired(own(activations)[measure], other(activations)[measure]);
        check(
          `${name} ${type}, activations in ${activations}: ${measure} more by ${mean}, give or take ${error}`,
          mean <= (activations === 'f32' ? 0 : 2 * error),
        );
      }
  }
}

function check(name, holds) {
  if (holds) passed++;
  else failed++;
  if (!holds) console.log(`FAILED ${name}`);
}

function meanOf(samples) {
  return samples.reduce((sum, x) => sum + x, 0) / samples.length;
}

/** By how much samples of ours are larger, and the standard error of that. */
function paired(own, other) {
  const differences = own.map((x, i) => x - other[i]);
  const mean = meanOf(differences);
  const variance = meanOf(differences.map((x) => (x - mean) ** 2));
  return { mean, error: Math.sqrt(variance / differences.length) };
}

function ourBlocks(type, names, weights) {
  const blocks = new Map();
  const arena = new Arena(backend);
  for (const name of names) {
    const { numbers } = weights.get(name);
    const groups = arena.tensor(numbers, [numbers.length / blockNumbers, blockNumbers]);
    blocks.set(name, call('quantize', [groups], { to: type }, arena)[0].readSync());
    arena.reset();
  }
  arena.dispose();
  return blocks;
}

/** All tensors as one run of rows: blocks do not look beyond themselves. */
async function theirBlocks(type, names, weights) {
  const [from, to] = ['numbers', 'blocks'].map((name) => join(work, name));
  const all = names.map((name) => weights.get(name).numbers);
  writeFileSync(from, Buffer.concat(all.map(({ buffer }) => Buffer.from(buffer))));
  await llamaCpp([{ op: 'blocks', from, to, type: types[type].id, width: blockNumbers }]);
  const bytes = readFileSync(to);
  const perNumber = bytes.length / all.reduce((sum, { length }) => sum + length, 0);
  let at = 0;
  return new Map(
    names.map((name, i) => [name, bytes.subarray(at, (at += all[i].length * perNumber)).slice()]),
  );
}

function errorOf(type, blocks, weights) {
  let [errors, squares] = [0, 0];
  for (const [name, bytes] of blocks) {
    const stored = dequantizeBlocks(types[type].gguf, bytes);
    weights.get(name).numbers.forEach((value, i) => {
      errors += (value - stored[i]) ** 2;
      squares += value ** 2;
    });
  }
  return Math.sqrt(errors / squares);
}

/** Weights for `loadModel`: blocks as they are, or what they stand for. */
function sourceOf(type, blocks, weights, widen) {
  const { gguf } = types[type];
  const tensors = new Map(
    [...weights].map(([name, { shape }]) => [
      name,
      { dtype: blocks.has(name) && !widen ? gguf : 'F32', shape },
    ]),
  );
  const part = (data, unit, { start = 0, count }) =>
    data.slice(start * unit, count === undefined ? undefined : (start + count) * unit);
  return {
    tensors,
    keepsBlocks: true,
    readFloat32: async (name, at = {}) => {
      const own = blocks.get(name);
      if (own === undefined) return part(weights.get(name).numbers, 1, at);
      return dequantizeBlocks(gguf, part(own, own.length / weights.get(name).numbers.length, at));
    },
    readBlocks: async (name, at = {}) =>
      part(blocks.get(name), blocks.get(name).length / weights.get(name).numbers.length, at),
  };
}

async function logitsOf(model, sequences) {
  const all = [];
  const arena = new Arena(backend);
  for (const ids of sequences) {
    all.push(Float32Array.from(await model.forward(model.batch(arena, [ids])).logits.read()));
    arena.reset();
  }
  arena.dispose();
  return { vocabSize: model.config.vocabSize, all };
}

/** Total variation and divergence from p to q, and mean squares of errors, each a sample; the largest error of a logit. */
function differences(p, q) {
  const { vocabSize } = p;
  const samples = { variation: [], divergence: [], squares: [] };
  let largest = 0;
  p.all.forEach((flat, s) => {
    for (let first = 0; first < flat.length; first += unit * vocabSize) {
      const end = Math.min(flat.length, first + unit * vocabSize);
      let [variation, divergence, squares] = [0, 0, 0];
      for (let at = first; at < end; at += vocabSize) {
        const [a, b] = [flat, q.all[s]].map((logits) => logits.subarray(at, at + vocabSize));
        const [logA, logB] = [logSumExp(a), logSumExp(b)];
        for (let i = 0; i < vocabSize; i++) {
          const [x, y] = [Math.exp(a[i] - logA), Math.exp(b[i] - logB)];
          variation += Math.abs(x - y) / 2;
          divergence += x * (a[i] - logA - (b[i] - logB));
          squares += (a[i] - b[i]) ** 2;
          largest = Math.max(largest, Math.abs(a[i] - b[i]));
        }
      }
      const rows = (end - first) / vocabSize;
      samples.variation.push(variation / rows);
      samples.divergence.push(divergence / rows);
      samples.squares.push(squares / (end - first));
    }
  });
  return { ...samples, largest };
}

function logSumExp(row) {
  let top = -Infinity;
  for (const x of row) top = Math.max(top, x);
  let sum = 0;
  for (const x of row) sum += Math.exp(x - top);
  return top + Math.log(sum);
}
