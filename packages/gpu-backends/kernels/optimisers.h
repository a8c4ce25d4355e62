// Optimiser steps: AdamW (Loshchilov and Hutter 2019, algorithm 2) in one pass over each parameter, and what Muon
// (Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982) does around its matrix products.
#pragma once
#include "rows.h"

namespace MINKE_NS {

/** What clipping by global norm multiplies gradients with; NaN stays NaN. */
static float clipFactor(const Tensor& normSquared, double maxNorm) {
  if (maxNorm == 0) return 1;
  const double clip = maxNorm / (__builtin_sqrt((double)normSquared.f()[0]) + 1e-6);
  return clip > 1 ? 1 : (float)clip;
}

static void adamW(const Call& call) {
  const float* grad = call.t[0].f();
  float *p = call.t[2].f(), *m = call.t[3].f(), *v = call.t[4].f();
  const double* at = call.attributes;
  const double lr = at[0], beta1 = at[1], beta2 = at[2], decay = at[4], maxNorm = at[7];
  const vf c = splat(clipFactor(call.t[1], maxNorm)), b1 = splat((float)beta1), b2 = splat((float)beta2), n1 = splat((float)(1 - beta1)),
           n2 = splat((float)(1 - beta2)), eps = splat((float)at[3]), keep = splat((float)(1 - lr * decay)),
           step = splat((float)(lr / at[5])), correction2 = splat((float)at[6]);
  call.pieces(call.t[0].count, 3, [&](idx b, idx e, int) {
    vectors(b, e, [&](auto io, idx i) {
      const vf g = c * io.load(grad + i);
      const vf m1 = fma(b1, io.load(m + i), n1 * g), v1 = fma(b2, io.load(v + i), n2 * (g * g));
      io.store(m + i, m1);
      io.store(v + i, v1);
      io.store(p + i, keep * io.load(p + i) - step * (m1 / (vsqrt(v1 / correction2) + eps)));
    });
  });
}

static void muonDirection(const Call& call) {
  const Tensor& grad = call.t[0];
  float *m = call.t[2].f(), *x = call.t[3].f();
  const double beta = call.attributes[0], eps = call.attributes[2];
  const bool nesterov = call.attributeInt(1) != 0;
  const vf c = splat(clipFactor(call.t[1], call.attributes[3])), b1 = splat((float)beta), n1 = splat((float)(1 - beta));
  const idx batch = grad.rank == 3 ? grad.d[0] : 1, size = batch ? grad.count / batch : 0;
  const idx blocks = (size + squaresBlock - 1) / squaresBlock;
  double* partial = (double*)call.shared((batch * blocks + 1) * 8);
  if (!partial) return;
  call.pieces(batch * blocks, squaresBlock, [&](idx b, idx e, int) {
    for (idx t = b; t < e; t++) {
      const idx from = t / blocks * size, block = t % blocks;
      vectors(from + block * squaresBlock, from + min(size, (block + 1) * squaresBlock), [&](auto io, idx i) {
        const vf g = n1 * (c * io.load(grad.f() + i)), moved = fma(b1, io.load(m + i), g);
        io.store(m + i, moved);
        io.store(x + i, nesterov ? fma(b1, moved, g) : moved);
      });
      partial[t] = blockSquares(x + from, size, block);
    }
  });
  call.pieces(batch * blocks, squaresBlock, [&](idx b, idx e, int) {
    for (idx t = b; t < e; t++) {
      const idx from = t / blocks * size, block = t % blocks;
      double squares = 0;
      for (idx k = 0; k < blocks; k++) squares += partial[t / blocks * blocks + k];
      const double norm = __builtin_sqrt(squares);
      const vf scale = splat((float)(1 / (norm > eps || norm != norm ? norm : eps)));
      vectors(from + block * squaresBlock, from + min(size, (block + 1) * squaresBlock),
              [&](auto io, idx i) { io.store(x + i, io.load(x + i) * scale); });
    }
  });
}

}  // namespace MINKE_NS
