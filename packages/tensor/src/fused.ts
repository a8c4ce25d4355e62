/**
 * Fused blocks of language models, each with its composed form for backends without the kernel.
 *
 * RMSNorm: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467, equation 4. SwiGLU: Shazeer 2020,
 * https://arxiv.org/abs/2002.05202, equation 6. In f32 the two forms differ by rounding only.
 */
import { check, formatShape, type OpName } from '@minke/core';
import { track, trackOne } from './autograd.ts';
import { call, callOne, flattened, renamed } from './call.ts';
import { affine, mul, neg, rsqrt, silu, square } from './elementwise.ts';
import { logSoftmax, mean } from './reductions.ts';
import { gatherLast } from './shaping.ts';
import type { Tensor } from './tensor.ts';

const supports = (t: Tensor, ...ops: OpName[]): boolean => ops.every((op) => t.arena.backend.supports(op));

/** x / sqrt(mean(x^2) + eps) w over the last axis: x [..., C], w [C]. */
export function rmsNorm(x: Tensor, w: Tensor, eps: number): Tensor {
  check(
    x.rank >= 1 && w.rank === 1 && x.shape.at(-1) === w.shape[0],
    () => `rmsNorm: expected x [..., C] and w [C], got ${formatShape(x.shape)} and ${formatShape(w.shape)}`,
  );
  if (!supports(x, 'rmsNorm', 'rmsNormGrad')) {
    const rstd = rsqrt(affine(mean(square(x), -1), 1, eps));
    return mul(mul(x, rstd.reshape([...x.shape.slice(0, -1), 1])), w);
  }
  const x2 = flattened(x);
  let [y, rstd] = call('rmsNorm', [x2, w], { eps }) as [Tensor, Tensor];
  if (x.rank !== 2) y = renamed(y, x.shape);
  track('rmsNorm', [x, w], [y], ([dy]) => {
    const [dx, dw] = call('rmsNormGrad', [x2, w, rstd, flattened(dy!)], {}) as [Tensor, Tensor];
    return [x.rank === 2 ? dx : renamed(dx, x.shape), dw];
  });
  return y;
}

/** silu(gate) up. */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  if (!supports(gate, 'swiglu', 'swigluGrad')) return mul(silu(gate), up);
  const y = callOne('swiglu', [gate, up], {});
  return trackOne('swiglu', [gate, up], y, (dy) => call('swigluGrad', [gate, up, dy], {}));
}

/**
 * -log softmax(logits)[target] of each row: logits [N, V], targets i32 [N] -> [N]. Rows whose target is out
 * of range (-1, say) give 0 and no gradient.
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  if (!supports(logits, 'crossEntropy', 'crossEntropyGrad')) {
    const column = targets.reshape([-1, 1]);
    return neg(gatherLast(logSoftmax(logits), column)).reshape(targets.shape);
  }
  const [loss, lse] = call('crossEntropy', [logits, targets], {}) as [Tensor, Tensor];
  track('crossEntropy', [logits, targets], [loss], ([dloss]) => [
    callOne('crossEntropyGrad', [logits, targets, lse, dloss!], {}),
    null,
  ]);
  return loss;
}
