// `pnpm bench attention [--quick] [--only PATTERN]`: the core of latent attention, projections apart, beside PyTorch:
// causal attention in the expanded form, forward and forward + backward by queries, keys and values, and one decode
// step of the absorbed form, batched over sequences (tools/bench/python/attention.py: the fastest of three ways). Outputs
// and the gradients by inputs must agree.
//
// Rows `32k decode`: one token on four layers whose caches hold 32,768, with windows of 1,024 in three of them, or with
// sparse attention (an indexer of 16 heads of 64, 2,048 tokens kept), beside full attention of ours on the same layers.

import { compare } from '../harness/compare.mjs';
import { benchOps } from '../harness/ops.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { absorbedFlops, attentionShapes, causalFlops } from '../harness/shapes.mjs';
import { startNode } from '../harness/side.mjs';

const kinds = {
  forward: causalFlops,
  'forward+backward': (sizes) => 3 * causalFlops(sizes),
  'absorbed decode': absorbedFlops,
};

const longContext = { context: 32768, window: 1024, indexer: { heads: 16, headDim: 64, topK: 2048 } };

/** Steps a second with windows or sparse attention, beside full attention: attention alone, then the whole step. */
async function benchLongContext(report) {
  const names = { hybrid: 'hybrid 3:1', sparse: 'sparse' };
  for (const threads of [1, 2])
    for (const part of ['attention', 'whole step']) {
      const caseName = (kind) => `v2-lite 32k decode ${part}, ${names[kind]} ${threads}t`;
      const kinds = Object.keys(names).filter((kind) => wanted(caseName(kind)));
      if (kinds.length === 0) continue;
      const start = (kind) => () =>
        startNode(new URL('long-context-ours.mjs', import.meta.url), { ...longContext, threads, kind, part });
      const starts = Object.fromEntries(['full', ...kinds].map((kind) => [kind, start(kind)]));
      const plan = { rounds: quick ? 5 : 15, roundSeconds: 0.2, budgetSeconds: quick ? 10 : 60 };
      const { full, ...others } = await compare(starts, plan);
      for (const kind of kinds)
        report.addRates({
          ...{ name: caseName(kind), unit: 'steps/s', work: 1, threads },
          ...{ ours: others[kind], peer: { ...full, name: 'full attention of ours' } },
        });
    }
}

await benchOps({
  more: benchLongContext,
  bench: 'attention',
  script: new URL('ours.mjs', import.meta.url),
  cases: Object.entries(attentionShapes).flatMap(([shape, sizes]) =>
    Object.entries(kinds).map(([kind, flops]) => ({
      name: `${shape} ${kind}`,
      wish: { ...sizes, kind },
      flops: flops(sizes),
    })),
  ),
});
