// `pnpm bench experts [--quick] [--only PATTERN]`: one mixture-of-experts layer (gate, routed experts, shared expert)
// forward, and forward + backward by its input and every weight, beside PyTorch with grouped experts (tokens sorted
// by expert; the faster of a loop of products and torch._grouped_mm: tools/bench/python/grouped_model.py). Outputs
// and the gradients by inputs must agree.

import { benchOps } from '../harness/ops.mjs';
import { expertFlops, expertShapes } from '../harness/shapes.mjs';

const kinds = [
  { kind: 'forward', backward: false, factor: 1 },
  { kind: 'forward+backward', backward: true, factor: 3 },
];

await benchOps({
  bench: 'experts',
  script: new URL('ours.mjs', import.meta.url),
  cases: Object.entries(expertShapes).flatMap(([shape, sizes]) =>
    kinds.map(({ kind, backward, factor }) => ({
      name: `${shape} ${kind}`,
      wish: { ...sizes, backward },
      flops: factor * expertFlops(sizes),
    })),
  ),
});
