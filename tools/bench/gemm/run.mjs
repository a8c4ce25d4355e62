// `pnpm bench gemm [--quick] [--only PATTERN]`: our matrix product beside the better of onnxruntime-node and OpenBLAS
// (compiled against on the spot, where it is installed; with the kernels it chooses itself, and with those for
// Skylake-X, which do better on two threads of some AVX-512 processors), whichever is fastest at that shape.
//
// Operands are resident on every side, so no copy is timed. In the skinny rows B is a constant of onnxruntime's
// model, which it packs once when it loads; in the rows named `packed` so is ours, OpenBLAS's never is. Rows named
// `bf16` have B in bf16 and are beside our own f32 (as cubes), or beside the peers' f32 (packed), because neither
// peer has a bf16 product. Every side's result is held to the rounding bound of a sum of K products, computed in
// f64. The share of the limit is of the f32 multiply-add rate from registers, with the same number of threads.

import { fileURLToPath } from 'node:url';
import { compare } from '../harness/compare.mjs';
import { rounded } from '../harness/numbers.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { Report } from '../harness/report.mjs';
import { startNode, startSide } from '../harness/side.mjs';
import { compileProbe } from '../machine-peak/compile.mjs';

const threadCounts = [1, 2];
const plan = quick ? { rounds: 5, roundSeconds: 0.015 } : { rounds: 21, roundSeconds: 0.03 };
const cube = (n) => ({ name: `${n}`, M: n, N: n, K: n });
const skinny = (M, n) => ({ name: `${M}x${n}x${n}`, M, N: n, K: n, constantB: true });
const cubes = [256, 512, 1024, 2048].map(cube);
const shapes = [...cubes, ...[1024, 4096].flatMap((n) => [1, 4, 8, 16, 32, 64].map((M) => skinny(M, n)))];

const report = new Report('gemm', threadCounts);
const openblas = compileProbe(fileURLToPath(new URL('openblas.cc', import.meta.url)), ['-lopenblas']);

for (const threads of threadCounts)
  for (const shape of shapes)
    await bench(`f32 ${shape.name} ${threads}t`, { ...shape, build: 'native', threads });
for (const threads of threadCounts) {
  for (const shape of cubes.slice(1))
    await bench(`bf16 ${shape.name} ${threads}t`, { ...shape, build: 'native', storage: 'bf16', threads }, [
      'minke-f32',
    ]);
  for (const storage of ['f32', 'bf16'])
    for (const shape of [1024, 4096].flatMap((n) => [1, 8, 16, 64].map((M) => skinny(M, n)))) {
      const wish = { ...shape, build: 'native', storage, packed: true, threads };
      await bench(`packed ${storage} ${shape.name} ${threads}t`, wish);
    }
}
for (const shape of cubes) await bench(`f32 ${shape.name} wasm 1t`, { ...shape, build: 'wasm', threads: 1 });
openblas.dispose?.();
report.finish();

async function bench(name, wish, peerNames = ['onnxruntime', 'openblas', 'openblas-skylakex']) {
  if (!wanted(name)) return;
  const start = (script, more) => () => startNode(new URL(script, import.meta.url), { ...wish, ...more });
  const starts = {
    onnxruntime: start('onnxruntime.mjs'),
    openblas: () => startOpenblas(wish),
    'openblas-skylakex': () => startOpenblas(wish, 'SKYLAKEX'),
    'minke-f32': start('ours.mjs', { storage: 'f32' }),
  };
  const chosen = Object.fromEntries(peerNames.map((peer) => [peer, starts[peer]]));
  const { ours, ...peers } = await compare({ ours: start('ours.mjs'), ...chosen }, plan);
  const flops = 2 * wish.M * wish.N * wish.K;
  const rates = Object.entries(peers).map(([key, { seconds, why }]) => [
    key,
    seconds ? rounded(flops / seconds / 1e9) : why,
  ]);
  const [best] = Object.values(peers).sort((a, b) => (a.seconds ?? Infinity) - (b.seconds ?? Infinity));
  const { threads } = wish;
  const extra = { peers: Object.fromEntries(rates), note: rates.map((rate) => rate.join(' ')).join(', ') };
  report.addRates({ name, unit: 'GFLOP/s', work: flops / 1e9, flops, threads, ours, peer: best, extra });
}

/**
 * OpenBLAS with the kernels it chooses for this processor, or those of another it can run. Its threads would spin for
 * 100 ms after a product, into the others' rounds; the timeout makes that a few.
 */
function startOpenblas({ M, N, K, threads }, core) {
  if (openblas.why) return { why: `OpenBLAS: ${openblas.why}` };
  const extra = { OPENBLAS_THREAD_TIMEOUT: '20', ...(core ? { OPENBLAS_CORETYPE: core } : {}) };
  return startSide(openblas.binary, [M, N, K].map(String), threads, extra);
}
