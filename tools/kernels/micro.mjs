// Speed of the CPU kernels on the shapes that training and decoding run: GFLOP/s of matrix products and
// attention, GB/s of the rest. Runs the sources, bundled on the fly; build the add-on first.
// Usage: node tools/kernels/micro.mjs [--backend native|wasm] [--threads 1,2] [--set avx2] [--only matmul]

import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const { values: options } = parseArgs({
  options: {
    backend: { type: 'string', default: 'native' },
    threads: { type: 'string', default: '1,2' },
    set: { type: 'string' },
    only: { type: 'string', default: '' },
  },
});

/** Bundles the TypeScript sources with the bundler that tsup brings. */
async function loadSources() {
  const { build } = createRequire(createRequire(join(root, 'package.json')).resolve('tsup'))('esbuild');
  const out = join(root, 'packages/gpu-backends/build/micro');
  mkdirSync(out, { recursive: true });
  await build({
    stdin: {
      contents: `export * from '@minke/core'; export * from './src/cpu/index.ts';`,
      resolveDir: join(root, 'packages/gpu-backends'),
    },
    bundle: true,
    format: 'esm',
    platform: 'node',
    conditions: ['minke-source'],
    outfile: join(out, 'sources.mjs'),
  });
  process.env.MINKE_NATIVE ??= join(root, 'packages/gpu-backends/build/minke.node');
  return import(pathToFileURL(join(out, 'sources.mjs')).href);
}

const { CommandList, createNative, createWasm, elementCount, inferOutputs, opRow } = await loadSources();

const f32 = (...shape) => ({ dtype: 'f32', shape, fill: () => Math.random() - 0.5 });
const i32 = (shape, fill) => ({ dtype: 'i32', shape, fill });
/** Packed causal segments of `length` rows. */
const segments = (rows, length) =>
  i32([rows, 2], (i) => ((n) => (i % 2 ? n + 1 : n - (n % length)))(Math.floor(i / 2)));
const flops = (amount) => ({ amount, unit: 'GFLOP/s' });
const bytes = (amount) => ({ amount, unit: 'GB/s' });

function product(label, M, K, N, transA, transB, into = false) {
  const inputs = [transA ? f32(K, M) : f32(M, K), transB ? f32(N, K) : f32(K, N)];
  if (into) inputs.push(f32(M, N));
  return {
    name: `${label} ${M}x${K}x${N}`,
    op: into ? 'matmulInto' : 'matmul',
    inputs,
    attributes: { transA, transB },
    work: flops(2 * M * N * K),
  };
}

const [N, D, H, QK, V, E, F] = [4096, 192, 6, 48, 32, 8, 128];
const offsets = i32([E + 1], (e) => (e * 2 * N) / E);
const cases = [
  product('matmul', 256, 256, 256, 0, 0),
  product('matmul', 1024, 1024, 1024, 0, 0),
  product('matmul transB', 1024, 1024, 1024, 0, 1),
  product('matmul', 2048, 2048, 2048, 0, 0),
  product('linear', N, D, 288, 0, 1),
  product('linear', N, D, 64, 0, 1),
  product('linear', N, D, 512, 0, 1),
  product('grad input', N, 288, D, 0, 0),
  product('grad input', N, 64, D, 0, 0),
  product('grad weight', 288, N, D, 1, 0, true),
  product('grad weight', 64, N, D, 1, 0, true),
  product('grad weight', 512, N, D, 1, 0, true),
  product('decode', 1, 512, 2048, 0, 1),
  product('decode', 8, 192, 512, 0, 1),
  product('decode', 64, 192, 512, 0, 1),
  {
    name: 'experts',
    op: 'groupedMatmul',
    inputs: [f32(2 * N, D), f32(E, F, D), offsets],
    attributes: { transW: 1 },
    work: flops(4 * N * D * F),
  },
  {
    name: 'experts grad input',
    op: 'groupedMatmul',
    inputs: [f32(2 * N, F), f32(E, F, D), offsets],
    attributes: { transW: 0 },
    work: flops(4 * N * D * F),
  },
  {
    name: 'experts grad weight',
    op: 'groupedMatmulGradWeight',
    inputs: [f32(2 * N, F), f32(2 * N, D), offsets, f32(E, F, D)],
    attributes: {},
    work: flops(4 * N * D * F),
  },
  ...[96, 1024].flatMap((length) => [
    {
      name: `attention segments of ${length}`,
      op: 'attention',
      inputs: [f32(N, H, QK), f32(N, H, QK), f32(N, H, V), segments(N, length)],
      attributes: { scale: 0.14 },
      work: flops(N * H * (QK + V) * length),
    },
    {
      name: `attention gradient ${length}`,
      op: 'attentionGrad',
      inputs: [
        f32(N, H, QK),
        f32(N, H, QK),
        f32(N, H, V),
        segments(N, length),
        f32(N, H, V),
        f32(N, H),
        f32(N, H, V),
      ],
      attributes: { scale: 0.14 },
      work: flops(N * H * (3 * QK + 2 * V) * length),
    },
  ]),
  {
    name: 'attention decode 64 x 256 keys',
    op: 'attention',
    inputs: [
      f32(64, H, QK),
      f32(64 * 256, H, QK),
      f32(64 * 256, H, V),
      i32([64, 2], (i) => 256 * Math.floor((i + 1) / 2)),
    ],
    attributes: { scale: 0.14 },
    work: flops(2 * 64 * 256 * H * (QK + V)),
  },
  {
    name: 'latent decode 64 x 256 keys',
    op: 'latentAttention',
    inputs: [f32(64, H, 80), f32(64 * 256, 80), i32([64, 2], (i) => 256 * Math.floor((i + 1) / 2))],
    attributes: { scale: 0.14, valueWidth: 64 },
    work: flops(2 * 64 * 256 * H * (80 + 64)),
  },
  {
    name: 'rmsNorm',
    op: 'rmsNorm',
    inputs: [f32(N, D), f32(D)],
    attributes: { eps: 1e-6 },
    work: bytes(8 * N * D),
  },
  {
    name: 'rmsNormGrad',
    op: 'rmsNormGrad',
    inputs: [f32(N, D), f32(D), f32(N), f32(N, D)],
    attributes: {},
    work: bytes(12 * N * D),
  },
  {
    name: 'swiglu',
    op: 'swiglu',
    inputs: [f32(2 * N, F), f32(2 * N, F)],
    attributes: {},
    work: bytes(24 * N * F),
  },
  {
    name: 'swigluGrad',
    op: 'swigluGrad',
    inputs: [f32(2 * N, F), f32(2 * N, F), f32(2 * N, F)],
    attributes: {},
    work: bytes(40 * N * F),
  },
  {
    name: 'add',
    op: 'binary',
    inputs: [f32(N, D), f32(N, D)],
    attributes: { kind: 'add' },
    work: bytes(12 * N * D),
  },
  {
    name: 'rope',
    op: 'rope',
    inputs: [f32(N, H, QK), f32(512, 8), f32(512, 8), i32([N], (n) => n % 96)],
    attributes: { start: 32, layout: 'interleaved', inverse: 0 },
    work: bytes(8 * N * H * QK),
  },
  {
    name: 'permute 1 0 2',
    op: 'permute',
    inputs: [f32(N, H, QK)],
    attributes: { p0: 1, p1: 0, p2: 2, p3: 3 },
    work: bytes(8 * N * H * QK),
  },
  {
    name: 'concat heads',
    op: 'concat',
    inputs: [f32(N, H, 32), f32(N, H, 16)],
    attributes: { axis: 2 },
    work: bytes(8 * N * H * QK),
  },
  {
    name: 'slice heads',
    op: 'slice',
    inputs: [f32(N, H, 80)],
    attributes: { axis: 2, start: 48, size: 32 },
    work: bytes(8 * N * H * 32),
  },
  {
    name: 'place heads',
    op: 'place',
    inputs: [f32(N, H, 32)],
    attributes: { axis: 2, start: 48, size: 80 },
    work: bytes(4 * N * H * 112),
  },
  {
    name: 'cross-entropy',
    op: 'crossEntropy',
    inputs: [f32(N, 512), i32([N], (n) => n % 512)],
    attributes: {},
    work: bytes(4 * N * 512),
  },
  {
    name: 'cross-entropy gradient',
    op: 'crossEntropyGrad',
    inputs: [f32(N, 512), i32([N], (n) => n % 512), f32(N), f32(N)],
    attributes: {},
    work: bytes(8 * N * 512),
  },
  {
    name: 'gatherRows',
    op: 'gatherRows',
    inputs: [f32(512, D), i32([N], (n) => (n * 7) % 512)],
    attributes: {},
    work: bytes(8 * N * D),
  },
  {
    name: 'scatterAddRows',
    op: 'scatterAddRows',
    inputs: [f32(N, D), i32([N], (n) => (n * 7) % 512), f32(512, D)],
    attributes: {},
    work: bytes(12 * N * D),
  },
  {
    name: 'moeCombine',
    op: 'moeCombine',
    inputs: [f32(2 * N, D), f32(N, 2), i32([N, 2], (i) => (i * 5) % (2 * N))],
    attributes: {},
    work: bytes(12 * N * D),
  },
  {
    name: 'moeCombineGrad',
    op: 'moeCombineGrad',
    inputs: [f32(2 * N, D), f32(N, 2), i32([N, 2], (i) => (i * 5) % (2 * N)), f32(N, D)],
    attributes: {},
    work: bytes(20 * N * D),
  },
  {
    name: 'routeSelect',
    op: 'routeSelect',
    inputs: [f32(N, E), f32(E)],
    attributes: { k: 2, groups: 1, topGroups: 1, groupScore: 'top2Sum' },
    work: bytes(4 * N * E),
  },
  {
    name: 'expertPlan',
    op: 'expertPlan',
    inputs: [i32([N, 2], (i) => (i * 5) % E)],
    attributes: { experts: E },
    work: bytes(32 * N),
  },
  {
    name: 'softmax',
    op: 'softmax',
    inputs: [f32(N, 512)],
    attributes: { kind: 'softmax' },
    work: bytes(8 * N * 512),
  },
  {
    name: 'topK 8 of 512',
    op: 'topK',
    inputs: [f32(N, 512)],
    attributes: { k: 8 },
    work: bytes(4 * N * 512),
  },
  {
    name: 'reduce rows',
    op: 'reduce',
    inputs: [f32(N, D)],
    attributes: { kind: 'sum', axis: 0 },
    work: bytes(4 * N * D),
  },
  {
    name: 'adamW 1M',
    op: 'adamW',
    inputs: [f32(1 << 20), f32(1), f32(1 << 20), f32(1 << 20), f32(1 << 20)],
    attributes: {
      lr: 1e-3,
      beta1: 0.9,
      beta2: 0.95,
      eps: 1e-8,
      weightDecay: 0.1,
      correction1: 0.1,
      correction2: 0.05,
      maxNorm: 1,
    },
    work: bytes(28 << 20),
  },
  {
    name: 'sumSquares 1M',
    op: 'sumSquares',
    inputs: [f32(1 << 20), f32(1)],
    attributes: {},
    work: bytes(4 << 20),
  },
].filter(({ name, op }) => `${name} ${op}`.includes(options.only));

function upload(backend, { dtype, shape, fill }) {
  const count = elementCount(shape);
  const buffer = backend.allocate(dtype, count);
  const data = dtype === 'i32' ? new Int32Array(count) : new Float32Array(count);
  for (let i = 0; i < count; i++) data[i] = fill(i);
  backend.write(buffer, data);
  return { buffer, dtype, shape, offset: 0 };
}

/** The best of several rounds, in seconds for one call. */
function time(backend, { op, inputs, attributes }) {
  const refs = inputs.map((input) => upload(backend, input));
  const outputs = inferOutputs(op, refs, attributes).map(({ dtype, shape }) => ({
    buffer: backend.allocate(dtype, elementCount(shape)),
    dtype,
    shape,
    offset: 0,
  }));
  const list = new CommandList();
  list.record(op, refs, outputs, attributes);
  list.close();
  backend.submit(list);
  let best = Number.POSITIVE_INFINITY;
  const until = performance.now() + 120;
  for (let round = 0; round < 5 || performance.now() < until; round++) {
    const start = performance.now();
    backend.submit(list);
    best = Math.min(best, (performance.now() - start) / 1e3);
  }
  for (const { buffer } of [...refs, ...outputs]) backend.release(buffer);
  return best;
}

const create = options.backend === 'wasm' ? createWasm : createNative;
const counts = options.backend === 'wasm' ? [1] : options.threads.split(',').map(Number);
const backends = [];
for (const threads of counts)
  backends.push(await create({ threads, ...(options.set ? { instructionSet: options.set } : {}) }));
console.log(`${options.backend} ${backends[0].info.device}; columns: threads ${counts.join(', ')}`);
for (const test of cases) {
  opRow(test.op);
  const columns = backends.map((backend) => {
    const seconds = time(backend, test);
    return `${(seconds * 1e6).toFixed(0).padStart(8)} us ${(test.work.amount / seconds / 1e9).toFixed(1).padStart(7)} ${test.work.unit}`;
  });
  console.log(`${test.name.padEnd(34)}${columns.join('  ')}`);
}
for (const backend of backends) backend.dispose();
