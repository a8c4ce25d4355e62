// The tiny GPT's rows of `pnpm bench train-step`: ours beside jax-js and tfjs, both on WebAssembly with one thread,
// which is all they use in Node; ours with one and two. The losses of the first step must agree.

import { compare } from '../harness/compare.mjs';
import { wanted } from '../harness/options.mjs';
import { startNode } from '../harness/side.mjs';
import { sizes, stepFlops } from './gpt-model.mjs';

const peers = { 'jax-js': 'gpt-jax.mjs', tfjs: 'gpt-tfjs.mjs' };

export async function benchTinyGpt(report, plan, threadCounts) {
  for (const threads of threadCounts) {
    const caseName = (peer) => `tiny-gpt ${peer} ${threads}t`;
    const wished = Object.keys(peers).filter((peer) => wanted(caseName(peer)));
    if (wished.length === 0) continue;
    const start = (script) => () => startNode(new URL(script, import.meta.url), { threads });
    const starts = { ours: start('gpt-ours.mjs') };
    for (const peer of wished) starts[peer] = start(peers[peer]);
    const sides = await compare(starts, plan);
    for (const peer of wished) {
      const { ours, [peer]: theirs } = sides;
      const tokens = sizes.batch * sizes.length;
      const row = { name: caseName(peer), unit: 'tokens/s', work: tokens, flops: stepFlops(), threads };
      report.addRates({ ...row, ours, peer: theirs });
      report.addMemory(`${caseName(peer)} memory`, ours, theirs);
    }
  }
}
