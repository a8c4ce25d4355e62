// What the prefill and decode benchmarks share: files, sides, rows. A case is a model, a type and a phase; it has a row
// for each peer, which runs with the number of threads that serves it best, and for each type of our cache. Peers keep
// theirs in f16.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { compare } from '../harness/compare.mjs';
import { rounded } from '../harness/numbers.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { Report } from '../harness/report.mjs';
import { startNode, startSide } from '../harness/side.mjs';
import { compileProbe } from '../machine-peak/compile.mjs';
import { shapes } from './shapes.mjs';
import { ggufOf } from './write-gguf.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const threads = 2;
/** Ours with the quantised products of as many bits. */
const storage = { Q4_0: 'q4_0', Q8_0: 'q8_0' };
/** Tokens after which logits are compared. */
const probe = 16;
const plan = quick
  ? { rounds: 3, roundSeconds: 0.3, budgetSeconds: 8 }
  : { rounds: 5, roundSeconds: 1, budgetSeconds: 40 };

/**
 * Runs a benchmark.
 *
 * @param {string} bench
 * @param {{ phase: 'prefill' | 'decode', tokens: number, batch: number, name: string, cacheTypes?: string[] }[]} cases
 * @param {(measured: object) => object} row what of `report.addRates` belongs to the phase: unit, work, flops, share
 */
export async function benchGeneration(bench, cases, row) {
  const report = new Report(bench, [threads]);
  const bandwidth = measureBandwidth();
  const loop = compileProbe(here('llama-loop.cc'), ['-ldl']);
  const models = quick ? ['deepseek2-small'] : Object.keys(shapes);
  const bestThreads = new Map();
  for (const model of models)
    for (const type of Object.keys(storage))
      for (const { name, cacheTypes = ['f32'], ...wish } of cases) {
        const nameOf = (peer, cacheType) =>
          `${model} ${type} ${name} ${cacheType === 'f32' ? '' : `cache ${cacheType} `}${peer} ${threads}t`;
        const starting = Object.entries(peerStarts(loop));
        const rows = cacheTypes.flatMap((cacheType) =>
          starting.flatMap(([peer]) => (wanted(nameOf(peer, cacheType)) ? [{ cacheType, peer }] : [])),
        );
        if (rows.length === 0) continue;
        const file = ggufOf(model, type, here(`node_modules/.models/${model}-${type}.gguf`));
        const full = { ...wish, file, probe, quantize: storage[type], chunk: 512, threads };
        const starts = {};
        for (const cacheType of new Set(rows.map((row) => row.cacheType)))
          starts[cacheType] = () => startNode(new URL('ours.mjs', import.meta.url), { ...full, cacheType });
        for (const [peer, start] of starting) {
          if (!rows.some((row) => row.peer === peer)) continue;
          const key = `${file} ${wish.phase} ${wish.batch} ${peer}`;
          if (!bestThreads.has(key)) bestThreads.set(key, await fastest(start, full));
          starts[peer] = () => start({ ...full, threads: bestThreads.get(key) });
        }
        const sides = await compare(starts, plan);
        for (const { cacheType, peer } of rows) {
          const ours = sides[cacheType];
          checkLogits(ours, sides[peer]);
          const own = row({ shape: shapes[model], type, ...wish, seconds: ours.seconds, bandwidth });
          const extra = { peerThreads: sides[peer].details?.threads };
          const named = nameOf(peer, cacheType);
          report.addRates({ name: named, threads, ours, peer: sides[peer], extra, ...own });
          addResident(report, named, ours, sides[peer]);
        }
      }
  loop.dispose?.();
  report.finish();
}

/** How each peer starts. */
function peerStarts(loop) {
  const libraries = here('node_modules/@node-llama-cpp/linux-x64/bins/linux-x64');
  const direct = ({ file, phase, tokens, batch, threads: own }) => {
    const words = [libraries, file, phase, tokens, batch, own, probe].map(String);
    return startSide(loop.binary, words, own, { LD_LIBRARY_PATH: libraries });
  };
  return {
    'llama.cpp': loop.why ? async () => ({ name: 'llama.cpp', why: loop.why }) : direct,
    'node-llama-cpp': (wish) => startNode(new URL('node-llama.mjs', import.meta.url), wish),
  };
}

/** The number of threads with which a peer is faster, at no more than 512 tokens. */
async function fastest(start, wish) {
  const times = [];
  for (let count = 1; count <= threads; count++) {
    const side = await start({ ...wish, tokens: Math.min(512, wish.tokens), threads: count });
    if (side.why) return threads;
    const calls = wish.phase === 'decode' ? 12 : 1;
    await side.measure(calls);
    times.push((await side.measure(calls)).seconds);
    await side.end();
  }
  return 1 + times.indexOf(Math.min(...times));
}

/**
 * Both must run the same model: their logits after a prompt go together. Both round activations to 8 bits, at different
 * places, and near ties between experts then fall otherwise, so they are not equal.
 */
function checkLogits(ours, peer) {
  const [a, b] = [ours.details?.logits, peer.details?.logits];
  if (!a || !b) return;
  const product = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const cosine = product(a, b) / Math.sqrt(product(a, a) * product(b, b));
  if (!(cosine > 0.9))
    throw new Error(`bench: expected the logits of ${peer.name} to go with ours, got a cosine of ${cosine}`);
  process.stderr.write(`cosine of logits, ours and ${peer.name}: ${cosine.toFixed(4)}\n`);
}

/** A row for what is resident while running: a file that is mapped counts where it was read. */
function addResident(report, name, ours, peer) {
  if (!ours.resident || !peer.resident) return;
  const ratio = peer.resident / ours.resident;
  const row = { case: `${name} memory`, unit: 'MB', ours: ours.resident, peer: peer.resident };
  report.add({
    ...row,
    peerName: peer.name,
    ratio,
    note: `peaks ${rounded(ours.megabytes)} and ${rounded(peer.megabytes)}`,
  });
}

/** GB/s that the threads read; null without a compiler. */
function measureBandwidth() {
  const built = compileProbe(here('../machine-peak/bandwidth.cc'));
  if (built.why) return null;
  const read = () =>
    Number(spawnSync(built.binary, [String(threads), '256'], { encoding: 'utf8' }).stdout.trim());
  const rate = Math.max(read(), read());
  built.dispose();
  process.stderr.write(`memory read, GB/s: ${rate} (${threads}t)\n`);
  return rate;
}
