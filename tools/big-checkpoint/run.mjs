/**
 * A checkpoint larger than the memory it may take: DeepSeek-V2-Lite at its published width with few layers and random
 * weights, written, quantised to 4 bits by `minke quantize`, and served. Prints seconds and the peak of resident memory
 * (Linux) of each, fails where quantising took more than 2 GB, and deletes what it wrote. In a built checkout:
 *
 *   node tools/big-checkpoint/run.mjs [--layers 8] [--folder <where>] [--fused] [--type q4_0] [--keep-files]
 *
 * 8 layers take 9.2 GB in bf16 and 2.9 GB quantised.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url));
const load = (name) => import(pathToFileURL(join(root, 'packages', name, 'dist', 'index.js')).href);
const loadPart = (path) => import(pathToFileURL(join(root, 'packages', path)).href);
const minke = join(root, 'apps/cli/dist/main.js');

const { values } = parseArgs({
  options: {
    layers: { type: 'string', default: '8' },
    folder: { type: 'string', default: join(tmpdir(), 'minke-big-checkpoint') },
    fused: { type: 'boolean', default: false },
    type: { type: 'string', default: 'q4_0' },
    'keep-files': { type: 'boolean', default: false },
  },
});
const mostResident = 2 * 2 ** 30;
const { streamCheckpoint } = await load('checkpoints');
const { presets, huggingFaceConfigText, publishedTensors } = await load('transformer');
const { trainBpe } = await loadPart('tokenizer-merging/dist/tokenizer/index.js');
const { deepseekSpecialTokens } = await loadPart('tokenizer-merging/dist/chat/index.js');

const config = { ...presets['DeepSeek-V2-Lite'], numLayers: Number(values.layers) };
const specs = tensorSpecs();
const bytes = [...specs.values()].reduce((sum, { shape }) => sum + 2 * shape.reduce((a, b) => a * b, 1), 0);
const source = join(values.folder, 'bf16');
const out = join(values.folder, 'quantised');
mkdirSync(source, { recursive: true });
const { bavail, bsize } = statfsSync(values.folder);
if (bavail * bsize < 1.6 * bytes)
  throw new Error(
    `expected ${gigabytes(1.6 * bytes)} free for ${values.folder}, got ${gigabytes(bavail * bsize)}`,
  );

try {
  await timed('write', writeSource);
  const quantised = await timed('quantise', () =>
    run(['quantize', source, '--type', values.type, '--out', out, '--json']),
  );
  const report = JSON.parse(quantised.out);
  console.log(
    `  ${gigabytes(report.bytesBefore)} -> ${gigabytes(report.bytesAfter)}, ${report.bitsPerWeight.toFixed(2)} bits a weight, relative error ${(100 * report.error).toFixed(2)} %, at worst ${(100 * report.worstError).toFixed(2)} % (${report.worst}); peak resident ${gigabytes(quantised.peak)}`,
  );
  const served = await timed('serve and answer', serve);
  console.log(
    `  loaded in ${served.loaded.toFixed(1)} s, 16 tokens in ${served.answered.toFixed(1)} s; peak resident ${gigabytes(served.peak)}`,
  );
  if (quantised.peak > mostResident)
    throw new Error(
      `expected at most ${gigabytes(mostResident)} resident to quantise, got ${gigabytes(quantised.peak)}`,
    );
} finally {
  if (!values['keep-files']) rmSync(values.folder, { recursive: true, force: true });
}

/** All tensors, with experts one by one or, as transformers has them in memory, packed. */
function tensorSpecs() {
  const specs = new Map();
  for (const { name, shape } of publishedTensors(config)) {
    const expert = /^(.*\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight$/.exec(name);
    if (!values.fused || expert === null) specs.set(name, { dtype: 'BF16', shape });
    else if (expert[2] === '0' && expert[3] !== 'up') {
      const [rows, columns] = shape;
      const down = expert[3] === 'down';
      specs.set(`${expert[1]}.${down ? 'down_proj' : 'gate_up_proj'}`, {
        dtype: 'BF16',
        shape: [config.moe.experts, down ? rows : 2 * rows, columns],
      });
    }
  }
  return specs;
}

/** Normal weights of standard deviation 0.02 from one pool of random numbers, read from a place of its own by each tensor. */
async function writeSource() {
  const pool = new Uint16Array(2 ** 23 + 8191);
  const number = new Float32Array(1);
  const bits = new Uint32Array(number.buffer);
  for (let i = 0; i < pool.length; i++) {
    number[0] = 0.02 * Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    pool[i] = bits[0] >>> 16;
  }
  const ones = new Uint16Array(2 ** 14).fill(0x3f80);
  const stream = await streamCheckpoint(source, specs, { maxShardBytes: 2e9 });
  let place = 0;
  for (const [name, { shape }] of specs) {
    const numbers = name.endsWith('norm.weight') ? ones : pool;
    let left = shape.reduce((a, b) => a * b, 1);
    while (left > 0) {
      const start = shape.length === 1 ? 0 : place % 8191;
      const count = Math.min(left, 2 ** 23, numbers.length - start);
      await stream.append(name, numbers.subarray(start, start + count));
      left -= count;
      place += 2741;
    }
  }
  await stream.finish();
  writeFileSync(join(source, 'config.json'), huggingFaceConfigText(config));
  const tokenizer = trainBpe(['What is 12 + 34? The answer is 46.'], {
    vocabSize: 300,
    specialTokens: deepseekSpecialTokens,
  });
  writeFileSync(join(source, 'tokenizer.json'), JSON.stringify(tokenizer.toJson()));
  writeFileSync(
    join(source, 'generation_config.json'),
    JSON.stringify({ eos_token_id: 1, do_sample: false }),
  );
  console.log(`  ${gigabytes(bytes)}, ${specs.size} tensors, ${config.numLayers} layers of DeepSeek-V2-Lite`);
}

async function serve() {
  const began = performance.now();
  const child = spawn(process.execPath, [minke, 'serve', out, '--port', '0', '--max-sequences', '1'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const peak = watchPeak(child.pid);
  try {
    const url = await new Promise((resolve, reject) => {
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (part) => {
        text += part;
        const found = /listening on (\S+)/.exec(text);
        if (found !== null) resolve(found[1]);
      });
      child.on('exit', (code) => reject(new Error(`minke serve ended with ${code}`)));
    });
    const loaded = (performance.now() - began) / 1000;
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'quantised',
        messages: [{ role: 'user', content: 'What is 12 + 34?' }],
        max_tokens: 16,
      }),
    });
    const answer = await response.json();
    if (answer.usage?.completion_tokens === undefined)
      throw new Error(`expected an answer, got ${JSON.stringify(answer)}`);
    const answered = (performance.now() - began) / 1000 - loaded;
    return { loaded, answered, peak: peak() };
  } finally {
    child.kill('SIGTERM');
  }
}

/** Runs minke to its end. */
async function run(args) {
  const child = spawn(process.execPath, [minke, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const peak = watchPeak(child.pid);
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    out += text;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`minke ${args[0]} ended with ${code}`);
  return { out, peak: peak() };
}

/** A function that gives the peak of a process's resident bytes so far; NaN where there is no /proc. */
function watchPeak(pid) {
  let peak = Number.NaN;
  const look = () => {
    try {
      peak = 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) || peak;
    } catch {
      // The process has ended, or this is not Linux.
    }
  };
  const timer = setInterval(look, 100);
  timer.unref();
  return () => {
    look();
    clearInterval(timer);
    return peak;
  };
}

async function timed(what, work) {
  const began = performance.now();
  console.log(`${what} ...`);
  const result = await work();
  console.log(`  ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return result;
}

function gigabytes(count) {
  return `${(count / 1e9).toFixed(2)} GB`;
}
