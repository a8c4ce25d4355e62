// `pnpm bench wasm [--quick] [--only PATTERN]`: both WebAssembly builds, SIMD128 and relaxed SIMD.
//
// f32 products beside tfjs-wasm, one thread each; two threads beside one of the same build; the weights of a decoding
// step (one row, 8 and 4 bits, larger than any last-level cache) and a whole step of a small DeepSeek-shaped model
// beside our native backend with as many threads. The share of products is of the native f32 peak of as many threads,
// which 128 bits halve on a processor that has more.

import { fileURLToPath } from 'node:url';
import { ggufOf } from '../generation/write-gguf.mjs';
import { compare } from '../harness/compare.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { Report } from '../harness/report.mjs';
import { startNode } from '../harness/side.mjs';

const plan = quick ? { rounds: 5, roundSeconds: 0.1 } : { rounds: 15, roundSeconds: 0.3 };
const report = new Report('wasm', [1, 2]);
const side = (script, wish) => () => startNode(new URL(script, import.meta.url), wish);
const builds = ['wasm', 'wasm-relaxed'];

for (const n of [256, 1024]) {
  const shape = { M: n, N: n, K: n };
  const flops = 2 * n ** 3;
  const ours = (build, threads) => side('../gemm/ours.mjs', { ...shape, build, threads });
  for (const build of builds) {
    const add = (name, threads, sides) =>
      pair(name, sides, { unit: 'GFLOP/s', work: flops / 1e9, flops, threads });
    await add(`f32 ${n} ${build} tfjs 1t`, 1, {
      ours: ours(build, 1),
      peer: side('tfjs.mjs', { ...shape, threads: 1 }),
    });
    await add(`f32 ${n} ${build} 1t-of-ours 2t`, 2, { ours: ours(build, 2), peer: ours(build, 1) });
  }
}
for (const bits of [8, 4])
  for (const threads of [1, 2])
    for (const build of builds) {
      const wish = { M: 1, N: quick ? 8192 : 32768, K: 4096, bits, threads };
      const gigabytes = ((bits === 8 ? 34 / 32 : 18 / 32) * wish.N * wish.K) / 1e9;
      await pair(
        `int${bits} 1x${wish.N}x${wish.K} ${build} native ${threads}t`,
        {
          ours: side('../linear/ours.mjs', { ...wish, build }),
          peer: side('../linear/ours.mjs', { ...wish, build: 'native' }),
        },
        { unit: 'GB/s', work: gigabytes, threads },
      );
    }
for (const [type, quantize] of [
  ['Q4_0', 'q4_0'],
  ['Q8_0', 'q8_0'],
])
  for (const threads of [1, 2])
    for (const build of builds) {
      const name = `deepseek2-small ${type} decode 512 ${build} native ${threads}t`;
      if (!wanted(name)) continue;
      const models = new URL('../generation/node_modules/.models/', import.meta.url);
      const file = ggufOf(
        'deepseek2-small',
        type,
        fileURLToPath(new URL(`deepseek2-small-${type}.gguf`, models)),
      );
      const wish = { file, phase: 'decode', tokens: 512, batch: 1, threads, quantize, chunk: 512, probe: 16 };
      await pair(
        name,
        {
          ours: side('../generation/ours.mjs', { ...wish, build }),
          peer: side('../generation/ours.mjs', { ...wish, build: 'native' }),
        },
        { unit: 'tok/s', work: 1, threads },
      );
    }
report.finish();

async function pair(name, sides, row) {
  if (!wanted(name)) return;
  const { ours, peer } = await compare(sides, plan);
  report.addRates({ name, ...row, ours, peer });
}
