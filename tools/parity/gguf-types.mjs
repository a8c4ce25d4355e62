// Every block type of GGUF in whole models, beside llama.cpp: the same file, the same ids, the next-token distributions.
//
//   node tools/parity/gguf-types.mjs [type ...]     a built checkout; MINKE_PYTHON names a python3 with gguf and numpy
//
// Files are made by llama.cpp's own llama_model_quantize from random models (gguf_random.py). llama.cpp rounds activations
// to 8 bits (to half precision beside F16 and BF16) before it multiplies; we do not. That is the noise of a type: measured
// between llama.cpp on the file and llama.cpp on the same weights written out in float32 (by llama_model_quantize, too).
// Two things must hold: from those float32 weights it has our distributions (to 1e-5), so every block is read right; and
// on the file itself it is no further from us than from its own float32 answer (and 1e-5). Where a gate is near a tie, the
// noise sends a token to other experts: that is the large maxima of deepseek2.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openGguf } from '../../packages/checkpoints/dist/index.js';
import { auto } from '../../packages/gpu-backends/dist/index.js';
import { Arena } from '../../packages/tensor/dist/index.js';
import { loadModel } from '../../packages/transformer/dist/index.js';
import { run } from '../scripts/process.mjs';
import { llamaCpp, readLogits } from './llama-cpp.mjs';

/** llama_ftype of each type, all matrices of which are of it. */
const types = {
  ...{ F32: 0, F16: 1, BF16: 32, Q8_0: 7, Q4_0: 2, Q4_1: 3, Q5_0: 8, Q5_1: 9 },
  ...{ Q2_K: 10, Q3_K: 11, Q4_K: 14, Q5_K: 16, Q6_K: 18, IQ4_NL: 25 },
};
const models = ['llama', 'deepseek2', 'deepseek2-fused'];
/** Total variation between distributions that are the same but for the order of float32 sums. */
const rounding = 1e-5;
/** Tokens of a sequence, and sequences. */
const [length, count] = [48, 4];
const vocabSize = 512;

const wanted = process.argv.slice(2);
const unknown = wanted.filter((type) => !(type in types));
if (unknown.length > 0) {
  console.error(
    `gguf-types: expected types out of ${Object.keys(types).join(', ')}, got ${unknown.join(', ')}`,
  );
  process.exit(2);
}

const work = mkdtempSync(join(tmpdir(), 'minke-gguf-types-'));
const backend = await auto();
let [passed, failed] = [0, 0];
try {
  await run(process.env.MINKE_PYTHON ?? 'python3', [join(import.meta.dirname, 'gguf_random.py'), work]);
  console.log(
    '| model | type | noise: mean, max TV | mean, max KL | ours beside the file: max TV | beside its weights in f32: max TV |',
  );
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const model of models)
    for (const type of wanted.length > 0 ? wanted : Object.keys(types)) await compare(model, type);
} finally {
  rmSync(work, { recursive: true });
  backend.dispose();
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function compare(model, type) {
  const path = (name) => join(work, name);
  const [file, plain] = [path(`${model}.${type}.gguf`), path(`${model}.${type}.f32.gguf`)];
  const sequences = idsOf(count, length);
  await llamaCpp([
    { op: 'quantize', from: path(`${model}.gguf`), to: file, ftype: types[type] },
    { op: 'quantize', from: file, to: plain, ftype: 0 },
    { op: 'logits', model: file, sequences, to: path('file.f32') },
    { op: 'logits', model: plain, sequences, to: path('plain.f32') },
  ]);
  const opened = await openGguf(file);
  const matrices = [...opened.tensors].filter(
    ([name, { shape }]) => shape.length > 1 && !/ffn_gate_inp/.test(name),
  );
  const others = matrices.filter(([, { dtype }]) => dtype !== type);
  await opened.close();
  check(`${model} ${type}: all matrices are of the type`, others.length === 0, JSON.stringify(others[0]));

  const distributions = (name) => readLogits(path(name), sequences, vocabSize).flat().map(softmax);
  const [theirs, exact] = [distributions('file.f32'), distributions('plain.f32')];
  const ours = (await logitsOf(file, sequences)).map(softmax);
  const noise = summary(exact, theirs);
  const [besideFile, besidePlain] = [summary(ours, theirs), summary(ours, exact)];
  const e = (x) => x.toExponential(1);
  console.log(
    `| ${[model, type, `${e(noise.meanVariation)}, ${e(noise.variation)}`, `${e(noise.meanDivergence)}, ${e(noise.divergence)}`, e(besideFile.variation), e(besidePlain.variation)].join(' | ')} |`,
  );
  check(
    `${model} ${type}: the same from its weights in float32`,
    besidePlain.variation < rounding,
    e(besidePlain.variation),
  );
  check(
    `${model} ${type}: within the noise of the type`,
    besideFile.variation < noise.variation + rounding && besideFile.divergence < noise.divergence + rounding,
    `${e(besideFile.variation)} of ${e(noise.variation)}`,
  );
  for (const name of [file, plain]) rmSync(name);
}

function check(name, holds, found) {
  if (holds) passed++;
  else failed++;
  if (!holds) console.log(`FAILED ${name}: ${found}`);
}

/** Rows of logits after each id of each sequence. */
async function logitsOf(path, sequences) {
  const arena = new Arena(backend, { persistent: true, label: 'model' });
  const step = new Arena(backend, { label: 'logits' });
  try {
    const model = await loadModel(path, { backend, arena });
    const flat = Float32Array.from(await model.forward(model.batch(step, sequences)).logits.read());
    return Array.from({ length: flat.length / vocabSize }, (_, row) =>
      flat.subarray(row * vocabSize, (row + 1) * vocabSize),
    );
  } finally {
    step.dispose();
    arena.dispose();
  }
}

/** Seeded ids, the same in every run. */
function idsOf(sequences, tokens) {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabSize);
  };
  return Array.from({ length: sequences }, () => Array.from({ length: tokens }, next));
}

function softmax(row) {
  const top = Math.max(...row);
  const exps = Array.from(row, (x) => Math.exp(x - top));
  const sum = exps.reduce((total, x) => total + x, 0);
  return exps.map((x) => x / sum);
}

/** Total variation and Kullback-Leibler divergence from p to q, in nats: means and maxima over positions. */
function summary(p, q) {
  const each = p.map((row, t) => {
    let [variation, divergence] = [0, 0];
    row.forEach((x, i) => {
      variation += Math.abs(x - q[t][i]) / 2;
      if (x > 0) divergence += x * Math.log(x / q[t][i]);
    });
    return { variation, divergence };
  });
  const of = (name) => each.map((row) => row[name]);
  const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  return {
    variation: Math.max(...of('variation')),
    divergence: Math.max(...of('divergence')),
    meanVariation: mean(of('variation')),
    meanDivergence: mean(of('divergence')),
  };
}
