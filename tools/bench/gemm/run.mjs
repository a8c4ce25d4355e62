// `pnpm bench gemm [--quick]`: our f32 matrix product beside onnxruntime-node, in one process.
//
// Rounds of ours and of the peer take turns, after a warm-up of both; a row holds the medians over the rounds
// and the median of the rounds' own ratios. Operands are resident on both sides (ours in buffers of the
// backend, the peer's in tensors it reads in place, its output preallocated), so no copy is timed. In the
// skinny rows B is a constant of the peer's model, which it packs once when it loads; ours is not packed.
// Both results are held to the rounding bound of a sum of K products, computed in f64, on random outputs.
//
// The peer's threads go on spinning for some 35 ms after a run: a pause follows each of its rounds.
// The share of the limit is of the f32 multiply-add rate from registers, with the same number of threads.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';
import { CommandList } from '../../../packages/core/dist/index.js';
import { createNative, createWasm, nativeAvailable } from '../../../packages/gpu-backends/dist/cpu/index.js';
import { describeMachine, measurePeak, watchLoad } from '../machine-peak/peak.mjs';
import { matmulModel } from './onnx-matmul.mjs';

const quick = process.argv.includes('--quick');
const rounds = quick ? 5 : 21;
const roundSeconds = quick ? 0.015 : 0.03;
const threadCounts = [1, 2];
const cube = (n) => ({ name: `${n}`, M: n, N: n, K: n, constantB: false });
const skinny = (M) => ({ name: `${M}x1024x1024`, M, N: 1024, K: 1024, constantB: true });
const cubes = [cube(256), cube(1024), cube(2048)];
const shapes = [...cubes, skinny(1), skinny(8), skinny(64)];

const { ort, name: peerName, why: peerWhy } = loadPeer();
const limit = measurePeak(threadCounts);
const loadOfOthers = watchLoad();
const results = [];
for (const threads of threadCounts)
  for (const shape of shapes) {
    const operands = drawOperands(shape);
    const ours = await nativeSide(operands, threads);
    const peer = await peerSide(operands, threads);
    await report(`f32 ${shape.name} ${threads}t`, operands, threads, ours, peer);
  }
for (const shape of cubes) {
  const operands = drawOperands(shape);
  const peer = { why: `${peerName} is native code: compare with the row f32 ${shape.name} 1t` };
  await report(`f32 ${shape.name} wasm 1t`, operands, 1, await wasmSide(operands), peer);
}
const machine = { ...describeMachine(), ...loadOfOthers(), peakGflops: limit.gflops };
if (limit.why) machine.peakWhy = limit.why;
printTable();
console.log(JSON.stringify({ bench: 'gemm', machine, results }));
process.exit(0);

function loadPeer() {
  const require = createRequire(import.meta.url);
  const { version } = JSON.parse(readFileSync(new URL('package-lock.json', import.meta.url), 'utf8'))
    .packages['node_modules/onnxruntime-node'];
  const name = `onnxruntime-node ${version}`;
  try {
    return { ort: require('onnxruntime-node'), name };
  } catch (error) {
    return { name, why: `${name} does not load: ${error.message.split('\n')[0]}` };
  }
}

function drawOperands({ M, N, K, constantB }) {
  const draw = (length) => Float32Array.from({ length }, () => Math.random() - 0.5);
  return { M, N, K, constantB, a: draw(M * K), b: draw(K * N) };
}

/** A side runs the product `calls` times, and gives its result; or says why it cannot. */
async function nativeSide(operands, threads) {
  const { available, reason } = nativeAvailable();
  return available ? ourSide(operands, await createNative({ threads })) : { why: reason };
}

async function wasmSide(operands) {
  return ourSide(operands, await createWasm());
}

function ourSide({ M, N, K, a, b }, backend) {
  const tensor = (shape, data) => {
    const buffer = backend.allocate('f32', shape[0] * shape[1]);
    if (data) backend.write(buffer, data);
    return { buffer, dtype: 'f32', shape, offset: 0 };
  };
  const product = tensor([M, N]);
  const list = new CommandList();
  list.record('matmul', [tensor([M, K], a), tensor([K, N], b)], [product], { transA: 0, transB: 0 });
  return {
    run: (calls) => {
      for (let i = 0; i < calls; i++) backend.submit(list);
    },
    result: () => backend.readSync(product.buffer),
    dispose: () => backend.dispose(),
  };
}

async function peerSide({ M, N, K, constantB, a, b }, threads) {
  if (!ort) return { why: peerWhy };
  const model = matmulModel({ M, N, K, weights: constantB ? b : undefined });
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionProviders: ['cpu'],
  });
  const inputs = { A: new ort.Tensor('float32', a, [M, K]) };
  if (!constantB) inputs.B = new ort.Tensor('float32', b, [K, N]);
  const outputs = { C: new ort.Tensor('float32', new Float32Array(M * N), [M, N]) };
  return {
    run: async (calls) => {
      for (let i = 0; i < calls; i++) await session.run(inputs, outputs);
    },
    result: () => outputs.C.data,
    dispose: () => session.release(),
  };
}

async function report(name, operands, threads, ours, peer) {
  const gflop = (2 * operands.M * operands.N * operands.K) / 1e9;
  const sides = [ours, peer].filter((side) => side.run);
  for (const side of sides) {
    await side.run(1);
    checkResult(name, side === ours ? 'ours' : peerName, operands, side.result());
    side.calls = Math.max(1, Math.round(roundSeconds / (await time(side, 3))));
    side.rates = [];
  }
  for (let round = 0; round < rounds; round++)
    for (const side of sides) {
      side.rates.push(gflop / (await time(side, side.calls)));
      if (side === peer) await pause(60);
    }
  for (const side of sides) await side.dispose();
  const peak = limit.gflops[threads];
  const rate = (side) => (side.rates ? round2(median(side.rates)) : null);
  const both = ours.rates && peer.rates;
  results.push({
    case: name,
    unit: 'GFLOP/s',
    ours: rate(ours),
    peer: rate(peer),
    peerName,
    ratio: both ? round2(median(ours.rates.map((own, i) => own / peer.rates[i]))) : null,
    shareOfLimit: ours.rates && peak ? round2(median(ours.rates) / peak) : null,
    ...(ours.why || peer.why ? { why: ours.why ?? peer.why } : {}),
  });
}

/** Seconds a call, over `calls` calls. */
async function time(side, calls) {
  const start = performance.now();
  await side.run(calls);
  return (performance.now() - start) / 1000 / calls;
}

/** |error| <= K u sum |a b| on random outputs (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). */
function checkResult(name, who, { M, N, K, a, b }, result) {
  for (let spot = 0; spot < 64; spot++) {
    const i = Math.floor(Math.random() * M);
    const j = Math.floor(Math.random() * N);
    let sum = 0;
    let size = 0;
    for (let k = 0; k < K; k++) {
      const term = a[i * K + k] * b[k * N + j];
      sum += term;
      size += Math.abs(term);
    }
    const error = Math.abs(result[i * N + j] - sum);
    if (!(error <= K * 2 ** -24 * size))
      throw new Error(
        `bench gemm: ${name}, ${who}: expected ${sum} at [${i}, ${j}], got ${result[i * N + j]}`,
      );
  }
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function round2(x) {
  return Number(x.toFixed(2));
}

function printTable() {
  const { cpu, cores, node, load, busyCoresOfOthers, peakGflops, peakWhy } = machine;
  console.log(
    `${cpu}, ${cores} cores, Node ${node}; load ${load}, others kept ${busyCoresOfOthers} cores busy`,
  );
  const peaks = threadCounts.map((n) => `${peakGflops[n] ?? 'unknown'} (${n}t)`).join(', ');
  console.log(`f32 multiply-add peak, GFLOP/s: ${peaks}${peakWhy ? `, ${peakWhy}` : ''}`);
  console.log(`medians of ${rounds} rounds, GFLOP/s; peer: ${peerName}\n`);
  const cell = (x, width) => String(x ?? '-').padStart(width);
  const head = `${cell('ours', 9)}${cell('peer', 9)}${cell('ratio', 8)}${cell('of peak', 9)}`;
  console.log(`${'case'.padEnd(24)}${head}`);
  for (const { case: name, ours, peer, ratio, shareOfLimit, why } of results) {
    const share = shareOfLimit === null ? null : `${Math.round(shareOfLimit * 100)} %`;
    const row = `${cell(ours, 9)}${cell(peer, 9)}${cell(ratio, 8)}${cell(share, 9)}`;
    console.log(`${name.padEnd(24)}${row}${why ? `  ${why}` : ''}`);
  }
}
