// `pnpm bench attention [--quick] [--only PATTERN]`: the core of latent attention, projections apart, beside PyTorch:
// causal attention in the expanded form, forward and forward + backward by queries, keys and values, and one decode
// step of the absorbed form, batched over sequences (tools/bench/python/attention.py: the fastest of three ways). Outputs
// and the gradients by inputs must agree.

import { benchOps } from '../harness/ops.mjs';
import { absorbedFlops, attentionShapes, causalFlops } from '../harness/shapes.mjs';

const kinds = {
  forward: causalFlops,
  'forward+backward': (sizes) => 3 * causalFlops(sizes),
  'absorbed decode': absorbedFlops,
};

await benchOps({
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
